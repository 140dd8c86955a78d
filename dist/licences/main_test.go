package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestEveryModuleHasItsLicence(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(&out, []string{self, self}); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if !strings.Contains(out.String(), m.Path+" "+m.Version+"\n") {
			t.Errorf("%s %s is not there", m.Path, m.Version)
		}
	}
	if !strings.Contains(out.String(), "The Go Authors") {
		t.Error("Go's own licence is not there")
	}
}

func TestTextsArePrintedOnce(t *testing.T) {
	dirs := make(map[string]string)
	for module, files := range map[string]map[string]string{
		"a 1": {"LICENSE": "one", "NOTICE.txt": "by a"}, "b 1": {"license.md": "one", "main.go": "x"}, "c 1": {"COPYING": "two"}, "d 1": {"README": "free"},
	} {
		dirs[module] = t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dirs[module], name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	if err := write(&out, []string{"a 1", "b 1", "c 1"}, dirs); err != nil {
		t.Fatal(err)
	}
	if want := "a 1\nb 1\n\none\n\na 1\n\nby a\n\nc 1\n\ntwo\n\n"; out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
	for _, module := range []string{"d 1", "unknown 1"} {
		if err := write(&out, []string{module}, dirs); err == nil || !strings.Contains(err.Error(), module) {
			t.Errorf("%s: %v", module, err)
		}
	}
	for _, programs := range [][]string{nil, {"/dev/null"}} {
		if err := run(&out, programs); err == nil {
			t.Errorf("%q: no error", programs)
		}
	}
}
