package statedir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"flanneld/pkg/statedir"
)

// keeps is what every Dir must do, whether or not it has a directory.
func keeps(t *testing.T, d *statedir.Dir) {
	t.Helper()
	if _, err := d.Load("mac"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: %v", err)
	}
	for _, content := range []string{"one", "two", "", "one"} {
		data := []byte(content)
		if err := d.Save("mac", data); err != nil {
			t.Fatal(err)
		}
		clear(data) // the Dir must have its own copy
		got, err := d.Load("mac")
		if err != nil || string(got) != content {
			t.Errorf("Load = %q, %v; want %q", got, err, content)
		}
		clear(got)
	}
	if got, _ := d.Load("mac"); string(got) != "one" {
		t.Errorf("Load after its result was changed = %q", got)
	}
	if err := d.Save("other", nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice is once
		if err := d.Remove("other"); err != nil {
			t.Error(err)
		}
		if _, err := d.Load("other"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load of what was removed: %v", err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "/a", ".hidden", "a\x00b"} {
		if err := d.Remove(name); err == nil {
			t.Errorf("Remove(%q) is no error", name)
		}
		if err := d.Save(name, nil); err == nil {
			t.Errorf("Save(%q) is no error", name)
		}
		if _, err := d.Load(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%q): %v", name, err)
		}
	}
}

func TestDirKeepsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lib", "state")
	d, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, d)
	again, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Load("mac"); err != nil || string(got) != "one" {
		t.Errorf("after opening again: %q, %v", got, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v; want the one file", entries, err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o700, filepath.Join(path, "mac"): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s is %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestMemoryKeepsFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	keeps(t, statedir.Memory())
	keeps(t, new(statedir.Dir))
	if entries, _ := os.ReadDir("."); len(entries) > 0 {
		t.Errorf("wrote %v", entries)
	}
}

func TestOpenSaysWhyAndTheDirIsUsable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		"":                         "empty",
		file:                       "not a directory",
		filepath.Join(file, "sub"): "not a directory",
		"/proc/none":               "no such file",
	} {
		d, err := statedir.Open(path)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%q): %v; want %q", path, err, why)
		}
		if _, err := d.Load("mac"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q), Load of nothing: %v", path, err)
		}
		if err := d.Save("mac", []byte("x")); err != nil {
			t.Errorf("Open(%q), Save: %v", path, err)
		}
		if got, err := d.Load("mac"); string(got) != "x" {
			t.Errorf("Open(%q), Load: %q, %v", path, got, err)
		}
	}
}

// A directory that is there but takes no files: /proc/self has some to read.
func TestUnwritableDirIsStillRead(t *testing.T) {
	d, err := statedir.Open("/proc/self")
	if err == nil {
		t.Fatal("/proc/self takes files")
	}
	was, err := d.Load("comm")
	if err != nil || len(was) == 0 {
		t.Fatalf("Load = %q, %v", was, err)
	}
	if err := d.Save("comm", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Load("comm"); string(got) != "mine" {
		t.Errorf("Load after Save = %q, %v", got, err)
	}
	if disk, err := os.ReadFile("/proc/self/comm"); err != nil || string(disk) != string(was) {
		t.Errorf("on disk is %q, %v; want %q", disk, err, was)
	}
}

// What cannot be a file of ours must not make anybody wait or run out of memory.
func TestLoadRefusesWhatIsNoSmallFile(t *testing.T) {
	path := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(path, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(path, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(path, "huge"), 1<<30); err != nil { // a hole
		t.Fatal(err)
	}
	d, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "dir", "huge"} {
		if _, err := d.Load(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Load(%q): %v; want an error that names it", name, err)
		}
	}
}
