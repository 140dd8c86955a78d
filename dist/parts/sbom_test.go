package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestListsEveryModuleOfTheProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &again} {
		if err := run(w, []string{"sbom", "1.2", "2026-01-02T03:04:05Z", self}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Error("prints something else the second time")
	}
	var d document
	if err := json.Unmarshal(first.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	if want := 2 + len(info.Deps); len(d.Items) != want || len(d.Relations) != want {
		t.Errorf("%d packages and %d relationships, want %d", len(d.Items), len(d.Relations), want)
	}
	seen := make(map[string]bool)
	for _, i := range d.Items {
		if seen[i.ID] || i.Name == "" || i.Version == "" || i.Declared == unknown {
			t.Errorf("package %+v", i)
		}
		seen[i.ID] = true
	}
	if want := "https://spdx.org/spdxdocs/" + filepath.Base(self) + "-1.2-" + runtime.GOARCH; d.Namespace != want {
		t.Errorf("the namespace is %s, want %s", d.Namespace, want)
	}
	if d.Creation.Created != "2026-01-02T03:04:05Z" {
		t.Errorf("created %s", d.Creation.Created)
	}
}

// What two programs share is listed once, and said of both.
func TestTwoPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(self, other); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(&out, []string{"sbom", "1.2", "2026-01-02T03:04:05Z", self, other}); err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	if items, relations := 3+len(info.Deps), 4+2*len(info.Deps); len(d.Items) != items || len(d.Relations) != relations {
		t.Errorf("%d packages and %d relationships, want %d and %d", len(d.Items), len(d.Relations), items, relations)
	}
	if want := filepath.Base(self) + "-1.2"; d.Name != want {
		t.Errorf("the document is %s, want %s", d.Name, want)
	}
}

func TestRefuses(t *testing.T) {
	for _, row := range [][2]string{{"/dev/null", "2026-01-02T03:04:05Z"}, {"/nowhere", "2026-01-02T03:04:05Z"}, {os.Args[0], "today"}} {
		if err := run(new(bytes.Buffer), []string{"sbom", "1", row[1], row[0]}); err == nil || strings.HasSuffix(err.Error(), ".") {
			t.Errorf("%v: %v", row, err)
		}
	}
}
