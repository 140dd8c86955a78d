package dist_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	mostWords = 1200 // of a page, outside tables and code: what is read in five minutes
	mostRunes = 120  // of a line, outside tables and code
)

// unmended are the pages that are still too long.
const unmended = " decisions.md design.md CONTRIBUTING.md "

var reference = regexp.MustCompile(`^\[[^\]]+\]: `) // the definition of a link, which cannot be broken

// TestPagesAreShort holds each page to a length that is read, and to a beginning that says what
// the page is for.
func TestPagesAreShort(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, name := range append(pages, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md") {
		if strings.Contains(unmended, " "+filepath.Base(name)+" ") {
			continue
		}
		p := measure(prose(t, name))
		if p.words > mostWords {
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
