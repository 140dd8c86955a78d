// Package statedir keeps a daemon's small files in one directory.
package statedir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Dir is a directory of small files.
type Dir struct{ path string }

// Open returns the directory and makes it if need be. The error says that it
// cannot be written; the Dir can be read all the same.
func Open(path string) (*Dir, error) {
	d := &Dir{path}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return d, err
	}
	f, err := os.CreateTemp(path, ".probe-*")
	if err != nil {
		return d, err
	}
	_ = f.Close()
	return d, os.Remove(f.Name())
}

// Load returns a file's content, or an error that is fs.ErrNotExist.
func (d *Dir) Load(name string) ([]byte, error) {
	p, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(p)
}

// Save replaces a file atomically; only its owner can read it.
func (d *Dir) Save(name string, data []byte) error {
	p, err := d.file(name)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(p, data, 0o600, renameio.WithTempDir(d.path)); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	return nil
}

func (d *Dir) file(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, ".") || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is not a file's name", name)
	}
	return filepath.Join(d.path, name), nil
}
