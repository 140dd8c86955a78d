// Package envfile reads and writes files of KEY=value lines, as systemd's
// EnvironmentFile= and shells read them. It reads whatever is there, since
// other programs write such files too; what it writes appears whole or not at
// all.
package envfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// maxSize bounds what is read, in bytes.
const maxSize = 64 << 10

// Parse returns the variables in data; the last of a name wins. What is no
// assignment is passed over.
func Parse(data []byte) map[string]string {
	vars := make(map[string]string)
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := range strings.Lines(string(data)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if ok && isName(name) {
			vars[name] = unquote(strings.TrimSpace(value))
		}
	}
	return vars
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// Read returns the variables in a file; none if there is no such file.
func Read(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return Parse(data), nil
}

// WriteIfChanged makes the file hold content and reports whether that took a
// write. The file is replaced atomically, with mode 0644 or the one that it
// has; its directory is made if need be.
func WriteIfChanged(path string, content []byte) (bool, error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	err := renameio.WriteFile(path, content, 0o644, renameio.WithTempDir(dir),
		renameio.WithExistingPermissions(), renameio.IgnoreUmask())
	if err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}
