package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsAreThoseOfTheirSource fails if a C file was changed and not compiled: run
// `go generate` in its directory.
func TestProgramsAreThoseOfTheirSource(t *testing.T) {
	sources, err := exec.Command("git", "ls-files", "--full-name", "-co", "--exclude-standard", "../../../*.c").Output()
	if err != nil {
		t.Skip("not in a checkout:", err)
	}
	seen := 0
	for _, source := range strings.Fields(string(sources)) {
		source = filepath.Join("../../..", source)
		dir, base := filepath.Dir(source), strings.TrimSuffix(filepath.Base(source), ".c")
		have, err := os.ReadFile(filepath.Join(dir, base+"_bpfel.go"))
		if err != nil {
			continue // no program for the kernel
		}
		seen++
		sum, err := sumOf(source)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(have, []byte(sum)) {
			t.Errorf("%s was changed since it was compiled: go generate ./%s", source, filepath.Clean(strings.TrimPrefix(dir, "../../../")))
			continue
		}
		if clang, err := compiler(); err != nil || !bytes.Contains(have, []byte(clang)) {
			t.Logf("%s is not compiled again: here is %q", source, clang) // another clang may make other code
			continue
		}
		out := t.TempDir()
		if err := generate(source, packageOf(have), out); err != nil {
			t.Fatal(err)
		}
		for _, o := range orders {
			name := base + "_bpf" + o.suffix + ".go"
			want, _ := os.ReadFile(filepath.Join(out, name))
			if have, _ := os.ReadFile(filepath.Join(dir, name)); !bytes.Equal(have, want) {
				t.Errorf("%s is not what %s compiles to", filepath.Join(dir, name), source)
			}
		}
	}
	if seen == 0 {
		t.Error("no program was found")
	}
}

// packageOf returns the package of a Go file.
func packageOf(file []byte) string {
	for line := range strings.Lines(string(file)) {
		if name, ok := strings.CutPrefix(line, "package "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
