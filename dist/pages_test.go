package dist_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	mostWords = 1200 // of a page, outside tables and code: what is read in five minutes
	mostRunes = 120  // of a line, outside tables and code
)

var reference = regexp.MustCompile(`^\[[^\]]+\]: `) // the definition of a link, which cannot be broken

// TestPagesAreShort holds each page to a length that is read, and to a beginning that says what
// the page is for.
func TestPagesAreShort(t *testing.T) {
	pages, _ := filepath.Glob("../docs/*.md")
	runbooks, _ := filepath.Glob("../docs/runbooks/*.md")
	if len(pages) == 0 || len(runbooks) == 0 {
		t.Fatal(pages, runbooks)
	}
	for _, name := range slices.Concat(pages, runbooks, []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md"}) {
		p := measure(prose(t, name))
		if p.words > mostWords && name != "../CHANGELOG.md" { // which grows with each release
			t.Errorf("%s has %d words, %d at most", name, p.words, mostWords)
		}
		if !p.begins {
			t.Errorf("%s does not say what it is for before its first section", name)
		}
		for _, line := range p.long {
			t.Errorf("%s: a line of more than %d characters: %.40s…", name, mostRunes, line)
		}
	}
}

type page struct {
	words  int
	begins bool     // with a paragraph, between the title and the first section
	long   []string // lines
}

// measure measures a page, without what prose leaves out.
func measure(text string) page {
	var p page
	headings := 0
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			headings++
		}
		if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || reference.MatchString(line) {
			continue
		}
		if utf8.RuneCountInString(line) > mostRunes {
			p.long = append(p.long, line)
		}
		p.words += len(strings.Fields(line))
		p.begins = p.begins || headings == 1 && line != "" && line[0] != '#' && line[0] != '!'
	}
	return p
}

// TestComparisonsHaveSources looks for a link in each cell about another program.
func TestComparisonsHaveSources(t *testing.T) {
	text := prose(t, "../README.md")
	_, text, found := strings.Cut(text, "\n## Compared with others\n")
	cells := 0
	for line := range strings.Lines(text) {
		row := strings.Split(line, "|") // nothing, what is compared, this program, the others, nothing
		if len(row) < 5 || strings.Trim(row[1], " -") == "" {
			continue
		}
		for _, cell := range row[3 : len(row)-1] {
			if cells++; !strings.Contains(cell, "][") && !strings.Contains(cell, "](") {
				t.Errorf("of%s%q has no source", row[1], strings.TrimSpace(cell))
			}
		}
	}
	if !found || cells < 10 {
		t.Errorf("found the section %v, %d cells", found, cells)
	}
}

// TestTheMapNamesEachPackage and nothing else.
func TestTheMapNamesEachPackage(t *testing.T) {
	text := prose(t, "../CONTRIBUTING.md")
	_, text, found := strings.Cut(text, "\n## Map\n")
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(text, -1) {
		named[m[1]] = true
	}
	packages := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return err
		}
		if dir := filepath.Dir(path); filepath.Ext(path) == ".go" && dir != ".." {
			packages[strings.TrimPrefix(dir, "../")] = true
		}
		return nil
	})
	if err != nil || !found || len(packages) < 50 {
		t.Fatalf("%v; found the map %v, %d packages", err, found, len(packages))
	}
	for name := range packages {
		if !named[name] {
			t.Errorf("the map in CONTRIBUTING.md lacks %s", name)
		}
	}
	for name := range named {
		if !packages[name] {
			t.Errorf("the map in CONTRIBUTING.md has %s, which is no package", name)
		}
	}
}

func TestMeasure(t *testing.T) {
	long := strings.Repeat("ä", 121)
	p := measure("# A b\n\nc d\n    code\n| a table |\n[x]: " + long + "\n" + long[2:] + "\n" + long + "\n## E\n")
	if p.words != 3+2+1+1+2 || !p.begins || len(p.long) != 1 {
		t.Errorf("measured %+v", p)
	}
	if p := measure("# A\n\n| t |\n\n## B\nc\n"); p.begins {
		t.Errorf("a table is taken for a paragraph: %+v", p)
	}
}
