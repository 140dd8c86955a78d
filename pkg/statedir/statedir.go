// Package statedir keeps a daemon's small files in one directory, and in memory
// when there is no such directory to write to. It does not know what the files
// mean.
package statedir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/google/renameio/v2"

	"flanneld/pkg/smallfile"
)

// Dir is a directory of small files. The zero Dir keeps them in memory. Methods
// are safe for concurrent use. A Dir must not be copied.
type Dir struct {
	path     string // empty: no directory
	writable bool

	mu     sync.Mutex
	memory map[string][]byte // what was saved, if the directory is not writable
}

// Memory returns a Dir that keeps its files in memory only.
func Memory() *Dir { return new(Dir) }

// Open returns the directory at path. It makes it if need be, with mode 0700
// (0755 for its parents), and tests that a file can be made in it. The error
// says why not; the Dir is usable all the same: it reads what is there and
// keeps in memory what is saved.
func Open(path string) (*Dir, error) {
	if path == "" {
		return Memory(), errors.New("open state directory: its path is empty")
	}
	d := &Dir{path: path}
	if err := probe(path); err != nil {
		return d, fmt.Errorf("open state directory %s: %w", path, err)
	}
	d.writable = true
	return d, nil
}

func probe(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.CreateTemp(path, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Load returns the named file's content, which is the caller's, or an error that
// is fs.ErrNotExist if there is none.
func (d *Dir) Load(name string) ([]byte, error) {
	path, err := d.file(name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	data, ok := d.memory[name]
	d.mu.Unlock()
	if ok {
		return slices.Clone(data), nil
	}
	data, err = smallfile.Read(path, maxSize)
	if errors.Is(err, syscall.ENOTDIR) {
		// A file is in the directory's place, so nothing was ever saved.
		err = &fs.PathError{Op: "load", Path: path, Err: fs.ErrNotExist}
	}
	return data, err
}

// maxSize is the size of the largest file that is read, in bytes.
const maxSize = 256 << 20

// Save replaces the named file; only its owner can read it. After a crash the
// file has its old content or its new one; once Save has returned nil, the new
// one.
func (d *Dir) Save(name string, data []byte) error {
	path, err := d.file(name)
	if err != nil {
		return err
	}
	if !d.writable {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.memory == nil {
			d.memory = make(map[string][]byte)
		}
		d.memory[name] = slices.Clone(data)
		return nil
	}
	err = renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(d.path), renameio.WithStaticPermissions(0o600))
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return fmt.Errorf("save %s in %s: %w", name, d.path, err)
	}
	return nil
}

// Remove removes the named file; that there is none is no error. Once it has
// returned nil, a crash does not bring the file back.
func (d *Dir) Remove(name string) error {
	path, err := d.file(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.memory, name)
	d.mu.Unlock()
	switch err = os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err == nil:
		err = d.sync()
	}
	if err != nil {
		return fmt.Errorf("remove %s in %s: %w", name, d.path, err)
	}
	return nil
}

// sync makes renames and removals outlast a crash.
func (d *Dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// file returns the path of a file, which is in the directory, and none of the temporary
// ones, whose names start with a dot. Without a directory there is no file at the path.
func (d *Dir) file(name string) (string, error) {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%q is not a file's name", name)
	}
	return filepath.Join(cmp.Or(d.path, os.DevNull), name), nil
}
