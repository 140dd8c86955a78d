package main

import (
	"bytes"
	"encoding/json"
	"os"
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
		if err := run(w, self, "1.2", "2026-01-02T03:04:05Z"); err != nil {
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
		if seen[i.ID] || i.Name == "" || i.Version == "" {
			t.Errorf("package %+v", i)
		}
		seen[i.ID] = true
	}
	if d.Creation.Created != "2026-01-02T03:04:05Z" {
		t.Errorf("created %s", d.Creation.Created)
	}
}

func TestRefuses(t *testing.T) {
	for _, row := range [][2]string{{"/dev/null", "2026-01-02T03:04:05Z"}, {"/nowhere", "2026-01-02T03:04:05Z"}, {os.Args[0], "today"}} {
		if err := run(new(bytes.Buffer), row[0], "1", row[1]); err == nil || strings.HasSuffix(err.Error(), ".") {
			t.Errorf("%v: %v", row, err)
		}
	}
}
