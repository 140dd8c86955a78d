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
	if err := run(&out, []string{"copyright", self, self}); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if strings.Count(out.String(), "\n"+m.Path+" "+m.Version+"\n") == 0 {
			t.Errorf("%s %s is not there", m.Path, m.Version)
		}
	}
	for _, want := range []string{filepath.Base(self) + " is free software.\n", "\nstd ", "The Go Authors"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not there", want)
		}
	}
}

// licences are those of modules that do not exist, by the module and the file.
func licences(t *testing.T, files map[string]string) sources {
	t.Helper()
	dirs := make(sources)
	for name, content := range files {
		module, file, _ := strings.Cut(name, "/")
		if dirs[module] == "" {
			dirs[module] = t.TempDir()
		}
		if err := os.WriteFile(filepath.Join(dirs[module], file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

func TestTextsArePrintedOnce(t *testing.T) {
	ours, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	dirs := licences(t, map[string]string{"a 1/LICENSE": "one", "a 1/NOTICE.txt": "by a", "b 1/license.md": "one\n", "b 1/main.go": "x", "c 1/COPYING": "two", "d 1/README": "free",
		"e 1/LICENSE": string(ours), "f 1/LICENSE": string(ours) + "\n   Copyright 2014 F, Inc.\n"})
	var out bytes.Buffer
	if err := writeTexts(&out, []part{{path: "a", version: "1"}, {path: "b", version: "1"}, {path: "c", version: "1"}, {path: "e", version: "1"}, {path: "f", version: "1"}}, dirs); err != nil {
		t.Fatal(err)
	}
	const want = "\na 1\nb 1\n\none\n\na 1\n\nby a\n\nc 1\n\ntwo\n\ne 1\n\nApache-2.0\n\nf 1\n\nApache-2.0\n\n   Copyright 2014 F, Inc.\n"
	if out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
	for _, p := range []part{{path: "d", version: "1"}, {path: "unknown", version: "1"}} {
		if err := writeTexts(&out, []part{p}, dirs); err == nil || !strings.Contains(err.Error(), p.String()) {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, args := range [][]string{nil, {"copyright"}, {"copyright", "/dev/null"}, {"other", "x"}} {
		if err := run(&out, args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
