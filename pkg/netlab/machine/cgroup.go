package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cgroups are the control groups of one machine, one in each hierarchy. Its systemd
// and its Docker take them for the root of the hierarchy (cgroup_namespaces(7)).
// Without them all machines would share the groups of this process.
type cgroups []string

// makeCgroups makes control groups of that name below this process's own.
func makeCgroups(name string) (cgroups, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("make control groups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("make control groups: %w", err)
	}
	var made cgroups
	for _, parent := range ownCgroups(string(mounts), string(own)) {
		dir := filepath.Join(parent, name)
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make control group: %w", err), made.remove())
		}
		made = append(made, dir)
		// In version 1, a group without processors and memory nodes takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(parent, file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), all, 0o644) // if it fails, no process can enter
			}
		}
	}
	return made, nil
}

// ownCgroups returns the directory of this process's group in each hierarchy that
// is mounted, from mountinfo and cgroup of proc(5).
func ownCgroups(mountinfo, own string) []string {
	paths := make(map[string]string) // controllers, or "" for version 2 → path
	for line := range strings.Lines(own) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			paths[f[1]] = f[2]
		}
	}
	var dirs []string
	for lines := bufio.NewScanner(strings.NewReader(mountinfo)); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		f, fsys := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(fsys) < 3 {
			continue
		}
		root, at := f[3], f[4]
		for controllers, path := range paths {
			switch fsys[0] {
			case "cgroup2":
				if controllers != "" {
					continue
				}
			case "cgroup":
				options := strings.Split(fsys[2], ",")
				if controllers == "" || slices.ContainsFunc(strings.Split(controllers, ","), func(c string) bool {
					return !slices.Contains(options, c)
				}) {
					continue
				}
			default:
				continue
			}
			if rel, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(rel, "..") {
				dirs = append(dirs, filepath.Join(at, rel))
			}
		}
	}
	return dirs
}

// cgroupTime is how long the kernel may take to remove ended processes from their
// groups.
const cgroupTime = 5 * time.Second

// remove removes the groups and all groups below them, once no process is in them.
func (g cgroups) remove() error {
	var errs []error
	for _, dir := range g {
		end := time.Now().Add(cgroupTime)
		for {
			err := removeTree(dir)
			if err == nil || time.Now().After(end) {
				errs = append(errs, err)
				break
			}
			<-time.After(poll)
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a group and those below it. The kernel removes the files.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}
