// Licences prints the licences and notices of what Go programs are linked from, which
// whoever hands on the programs has to hand on with them:
//
//	licences PROGRAM...
//
// It is called in the module that the programs were built in. A text that several modules
// have is printed once.
package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer, programs []string) error {
	if len(programs) == 0 {
		return errors.New("no program is given (usage: licences PROGRAM...)")
	}
	dirs, err := modules()
	if err != nil {
		return err
	}
	linked := []string{"Go " + runtime.Version()}
	for _, path := range programs {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read what %s is built from: %w", path, err)
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			linked = append(linked, m.Path+" "+m.Version)
		}
	}
	slices.Sort(linked)
	return write(w, slices.Compact(linked), dirs)
}

// modules returns where the sources of each module are, by its path and version, and those
// of Go itself.
func modules() (map[string]string, error) {
	list, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}", "all").Output()
	if err != nil {
		return nil, fmt.Errorf("list the modules: %w", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find Go: %w", err)
	}
	dirs := map[string]string{"Go " + runtime.Version(): strings.TrimSpace(string(root))}
	for line := range strings.Lines(string(list)) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[module] = dir
	}
	return dirs, nil
}

// write prints the texts of modules, which it takes from their directories.
func write(w io.Writer, linked []string, dirs map[string]string) error {
	var texts []string
	of := make(map[string][]string) // by the text
	for _, module := range linked {
		found, err := read(dirs[module])
		if err != nil {
			return fmt.Errorf("read the licence of %s: %w", module, err)
		}
		for _, text := range found {
			if of[text] == nil {
				texts = append(texts, text)
			}
			of[text] = append(of[text], module)
		}
	}
	for _, text := range texts {
		if _, err := fmt.Fprintf(w, "%s\n\n%s\n\n", strings.Join(of[text], "\n"), strings.TrimSpace(text)); err != nil {
			return err
		}
	}
	return nil
}

// read returns the texts in a module's directory. It is an error if there is none.
func read(dir string) (texts []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		if !e.Type().IsRegular() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, name) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(text))
	}
	if texts == nil {
		return nil, fmt.Errorf("there is none in %s", dir)
	}
	return texts, nil
}
