package main

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestHelpGolden(t *testing.T) {
	const file = "testdata/help.golden"
	got := usage("/opt/bin/flanneld")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("help (-want +got), -update rewrites it:\n%s", diff)
	}
	for line := range strings.SplitSeq(got, "\n") {
		if len(line) > helpWidth {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
}

// TestFlagTable checks what the code takes for granted about the table.
func TestFlagTable(t *testing.T) {
	table := flagTable()
	v := flagValues{fs: newFlagSet(table)}
	seen := make(map[string]bool)
	for _, s := range table {
		if seen[s.name] || seen[envName(s.name)] {
			t.Errorf("flag %s twice", s.name)
		}
		seen[s.name], seen[envName(s.name)] = true, true
		if (s.legacy == "") == (s.help == "") {
			t.Errorf("flag %s: help %q, legacy %q; want one", s.name, s.help, s.legacy)
		}
		var err error
		switch s.kind {
		case boolean:
			_, err = v.fs.GetBool(s.name)
		case number:
			if _, bad := strconv.Atoi(s.def); bad != nil {
				t.Errorf("flag %s: default %v", s.name, bad)
			}
			_, err = v.fs.GetInt(s.name)
		case list:
			_, err = v.fs.GetStringArray(s.name)
		default:
			_, err = v.fs.GetString(s.name)
		}
		if err != nil {
			t.Error(err)
		}
	}
	v.fs.VisitAll(func(f *pflag.Flag) {
		if !seen[f.Name] {
			t.Errorf("flag %s is not in the table", f.Name)
		}
	})
}

func TestDocumentationNamesEveryFlag(t *testing.T) {
	doc, err := os.ReadFile("../../docs/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range flagTable() {
		row := "| `" + s.name + "` |"
		if strings.Count(string(doc), "\n"+row) != 1 {
			t.Errorf("docs/flags.md does not have exactly one row %s", row)
		}
		if !s.instead && !strings.Contains(string(doc), "`"+envName(s.name)+"`") {
			t.Errorf("docs/flags.md lacks %s", envName(s.name))
		}
	}
}
