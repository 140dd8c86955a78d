package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFailuresNameTheirTests holds each line of docs/failures.md to a test that there
// is: a script of this package, a Go test anywhere in the tree, or a step of one.
func TestFailuresNameTheirTests(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "docs/failures.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, steps := declaredTests(t, root)
	name := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| … |") {
			continue
		}
		rows++
		if len(cells) != 3 {
			t.Errorf("%d cells, want 3: %s", len(cells), line)
			continue
		}
		found := name.FindAllStringSubmatch(cells[2], -1)
		if len(found) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, f := range found {
			test, step, ofTest := strings.Cut(f[1], ": ")
			_, err := os.Stat(filepath.Join("testdata", test+".txtar"))
			if !tests[test] && err != nil || ofTest && !steps[step] {
				t.Errorf("there is no test %q: %s", f[1], line)
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows were found", rows)
	}
}

// declaredTests returns the names of all Go tests below a directory, and the texts of
// the steps that tests of whole hosts have.
func declaredTests(t *testing.T, root string) (tests, steps map[string]bool) {
	t.Helper()
	tests, steps = make(map[string]bool), make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	step := regexp.MustCompile(`(?m)^\s*f\.step\("([^"]+)"`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		for _, m := range step.FindAllStringSubmatch(string(text), -1) {
			steps[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, steps
}
