package options

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestHelpGolden(t *testing.T) {
	const file = "testdata/help.golden"
	got := Usage("/opt/bin/flanneld")
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
		if len(line) > 80 {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
}

// TestFlagTable checks what the code takes for granted about the table.
func TestFlagTable(t *testing.T) {
	all := table(new(Daemon))
	seen := make(map[string]bool)
	for _, s := range all.Flags {
		if seen[s.Name] || seen[all.Variable(s.Name)] {
			t.Errorf("flag %s twice", s.Name)
		}
		seen[s.Name], seen[all.Variable(s.Name)] = true, true
		if (s.Legacy == "") == (s.Help == "") || (s.Legacy == "") == (s.Set == nil) {
			t.Errorf("flag %s: help %q, legacy %q, set %t; want the first and the last, or the second", s.Name, s.Help, s.Legacy, s.Set != nil)
		}
		if s.Set != nil && s.Default != "" {
			if err := s.Set(s.Default, s.Name); err != nil {
				t.Errorf("flag %s: default %v", s.Name, err)
			}
		}
	}
}

func TestDocumentationNamesEveryFlag(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range table(new(Daemon)).Flags {
		row := "| `" + s.Name + "` |"
		if strings.Count(string(doc), "\n"+row) != 1 {
			t.Errorf("docs/flags.md does not have exactly one row %s", row)
		}
		if !s.Instead && !strings.Contains(string(doc), "`"+table(new(Daemon)).Variable(s.Name)+"`") {
			t.Errorf("docs/flags.md lacks %s", table(new(Daemon)).Variable(s.Name))
		}
	}
}
