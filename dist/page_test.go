package dist_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// block is what a reader pastes at once. Its fence says so, and where, which a page that is
// shown hides: "```sh docker1", "```sh docker1 docker2", or "```sh each".
type block struct {
	line  int      // of the page, of its fence
	hosts []string // "each": all of them
	text  string
	// sample is what the page shows of the output, in a block "```text" after it; empty: nothing.
	sample string
}

// readPage returns the blocks of a page that are pasted. A block in the shell's language that
// does not say where is an error, since nobody would try it, as are commands that are only shown.
func readPage(page string) ([]block, error) {
	var blocks []block
	var open *block // the one that the lines belong to
	var language string
	for i, line := range strings.Split(page, "\n") {
		info, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && open == nil:
			words := strings.Fields(info)
			open, language = &block{line: i + 1}, ""
			if len(words) > 0 {
				language, open.hosts = words[0], words[1:]
			}
			if language == "console" || language == "sh" && len(open.hosts) == 0 {
				return nil, fmt.Errorf("line %d: a block of commands that does not say where it is pasted", i+1)
			}
		case fenced:
			switch {
			case language == "sh":
				blocks = append(blocks, *open)
			case language == "text" && len(blocks) > 0:
				blocks[len(blocks)-1].sample = open.text
			}
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: a block without an end", open.line)
	}
	return blocks, nil
}

// overlaid are addresses that Docker or etcd chooses.
var overlaid = regexp.MustCompile(`10\\\.100\\\.\d+`)

// like returns what matches output that has each line of a sample, in this order. "…" stands for
// anything in its line, and an address of the overlay for any other.
func like(sample string) *regexp.Regexp {
	var lines []string
	for line := range strings.Lines(sample) {
		line = regexp.QuoteMeta(strings.TrimSpace(line))
		line = overlaid.ReplaceAllString(line, `10\.100\.\d+`)
		lines = append(lines, strings.ReplaceAll(line, "…", ".*"))
	}
	return regexp.MustCompile(`(?m)^\s*` + strings.Join(lines, `\s*$(?:\n.*)*?\n\s*`) + `\s*$`)
}

func TestReadPage(t *testing.T) {
	for name, row := range map[string]struct {
		page string
		want []block
		err  string
	}{
		"two, one with its output": {
			page: "# A\n\n```sh docker1 docker2\na\n\nb\n```\n\nIt says:\n\n```text\nc\n```\n```sh each\nd\n```\n",
			want: []block{{line: 3, hosts: []string{"docker1", "docker2"}, text: "a\n\nb\n", sample: "c\n"}, {line: 14, hosts: []string{"each"}, text: "d\n"}},
		},
		"in a list":         {page: "1. x\n   ```sh a\n   b\n   ```\n", want: []block{{line: 2, hosts: []string{"a"}, text: "   b\n"}}},
		"of other kinds":    {page: "```\na\n```\n```json\n{}\n```\n"},
		"without a host":    {page: "\n```sh\na\n```\n", err: "line 2: a block of commands"},
		"with prompts":      {page: "```console\n# a\n```\n", err: "line 1: a block of commands"},
		"without an end":    {page: "```sh a\nb\n", err: "line 1: a block without an end"},
		"nothing at all":    {},
		"output of nothing": {page: "```text\nc\n```\n"},
	} {
		got, err := readPage(row.page)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: error %v, want one with %q", name, err, row.err)
		}
		if d := cmp.Diff(row.want, got, cmp.AllowUnexported(block{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestLike(t *testing.T) {
	for _, row := range []struct {
		sample, output string
		want           bool
	}{
		{"FLANNEL_SUBNET=10.100.1.1/24\n", "FLANNEL_NETWORK=x\nFLANNEL_SUBNET=10.100.241.1/24\nFLANNEL_MTU=1\n", true},
		{"FLANNEL_SUBNET=10.100.1.1/24\n", "FLANNEL_SUBNET=10.100.241.1/25", false},
		{"a … mtu 1450 …\n  b\n", "x\n  a 1 mtu 1450 2\ny\nb\n", true},
		{"a … mtu 1450 …\n", "a 1 mtu 1500 2", false},
		{"a\nb\n", "b\na\n", false},
		{"hello from docker1\n", "hello from docker2", false},
		{"driver: vxlan", "driver: vxlan2", false},
	} {
		if got := like(row.sample).MatchString(row.output); got != row.want {
			t.Errorf("%q is like %q: %v", row.output, row.sample, got)
		}
	}
}

// blocksOf reads one of the documents.
func blocksOf(t *testing.T, name string) []block {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := readPage(string(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return blocks
}
