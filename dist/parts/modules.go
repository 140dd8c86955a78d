package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// part is a module that programs are linked from, or Go itself, whose path is "std".
type part struct {
	path, version string
	sum           string // as in go.sum; empty: it has none
}

func (p part) String() string { return p.path + " " + p.version }

// partsOf returns what a program is linked from, Go first.
func partsOf(program string) ([]part, *debug.BuildInfo, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, nil, fmt.Errorf("read what %s is built from: %w", program, err)
	}
	all := []part{{"std", strings.TrimPrefix(info.GoVersion, "go"), ""}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, part{m.Path, m.Version, m.Sum})
	}
	return all, info, nil
}

// sources is where the sources of each part are, by its name.
type sources map[string]string

func findSources() (sources, error) {
	list, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}", "all").Output()
	if err != nil {
		return nil, fmt.Errorf("list the modules: %w", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find Go: %w", err)
	}
	dirs := sources{"std " + strings.TrimPrefix(runtime.Version(), "go"): strings.TrimSpace(string(root))}
	for line := range strings.Lines(string(list)) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[module] = dir
	}
	return dirs, nil
}

// text is a file about rights that lies beside a part's sources.
type text struct {
	licence string // SPDX's identifier; empty: it is a notice, or unknown
	content string
}

// texts returns those of a part. It is an error if there is none.
func (s sources) texts(p part) (all []text, err error) {
	dir := s[p.String()]
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		if err != nil || !e.Type().IsRegular() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, name) {
			continue
		}
		var content []byte
		content, err = os.ReadFile(filepath.Join(dir, e.Name()))
		all = append(all, text{identify(content), strings.TrimSpace(string(content))})
	}
	if err == nil && all == nil {
		err = fmt.Errorf("there is none in %s", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the licence of %s: %w", p, err)
	}
	return all, nil
}

// identify returns the licence that is most of a file.
func identify(content []byte) string {
	found := licensecheck.Scan(content)
	if found.Percent < 75 || len(found.Match) == 0 {
		return ""
	}
	var ids []string
	for _, m := range found.Match {
		// Google's grant of patents is more than a licence says, and SPDX has no name for it.
		if !m.IsURL && m.ID != "GooglePatentsFile" && !slices.Contains(ids, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return strings.Join(ids, " AND ")
}
