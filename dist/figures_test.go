package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// repeats are commands by which a document says that a figure can be measured again.
var repeats = regexp.MustCompile(`go\s+test\s+(?:-run\s+'\^\$'\s+)?-bench\s+(\S+)\s+(\./[a-z0-9/_]+)`)

// TestFiguresCanBeMeasuredAgain looks for the benchmarks that documents name, and for the
// targets of make.
func TestFiguresCanBeMeasuredAgain(t *testing.T) {
	goals, err := exec.Command("make", "--no-print-directory", "-C", "..", "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		documents, _ := filepath.Glob(pattern)
		for _, name := range documents {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range repeats.FindAllStringSubmatch(string(text), -1) {
				found[name]++
				bench, _, _ := strings.Cut(m[1], "/")
				if !hasBenchmark(t, filepath.Join("..", m[2]), bench) {
					t.Errorf("%s: %s has no benchmark %s", name, m[2], bench)
				}
			}
			for _, m := range regexp.MustCompile("`make ([a-z]+)").FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(string(goals), "make "+m[1]+" ") {
					t.Errorf("%s: there is no make %s", name, m[1])
				}
			}
		}
	}
	if found["../README.md"] < 2 {
		t.Errorf("the README names %d benchmarks: %v", found["../README.md"], found)
	}
}

// hasBenchmark says whether a package has one of that name, as -bench takes it.
func hasBenchmark(t *testing.T, dir, name string) bool {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?m)^func Benchmark\w*` + regexp.QuoteMeta(name) + `\w*\(`).Match(text) {
			return true
		}
	}
	return false
}
