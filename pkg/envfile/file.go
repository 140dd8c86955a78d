package envfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"flanneld/pkg/smallfile"
)

// maxSize is the size of the largest file that is read, in bytes.
const maxSize = 1 << 20

// Read returns the variables in a file as Parse does, or nil if there is no such file.
func Read(path string) (map[string]string, error) {
	data, err := smallfile.Read(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err) // err names the path
	}
	return Parse(data), nil
}

// WriteIfChanged makes the file hold content and reports whether that took a
// write. The file is replaced atomically, after its content has reached the
// disk. It keeps its mode; a new one gets 0644, whatever the umask. Missing
// directories are made with mode 0755. If path is a symbolic link, the file
// that it leads to is replaced and the link stays. It is an error if something is
// there that is not a regular file, such as /dev/null; it is left alone.
func WriteIfChanged(path string, content []byte) (changed bool, err error) {
	target, err := follow(path)
	if err == nil {
		changed, err = writeIfChanged(target, content)
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return changed, nil
}

func writeIfChanged(path string, content []byte) (bool, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, errors.New("not a regular file")
	case info.Size() == int64(len(content)):
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
			return false, nil
		}
	}
	// The temporary file is beside the target: a rename does not cross file
	// systems, and nobody but the directory's owner can get at it.
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return false, err
		}
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // whatever the umask: everybody may read the file
			return false, err
		}
	}
	err := renameio.WriteFile(path, content, 0o644, renameio.WithTempDir(dir), renameio.IgnoreUmask())
	// Without the temporary file's name, which differs each time: a caller that tries
	// again could not tell that the error is the same.
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return true, err
}

// maxLinks is the number of symbolic links that the kernel follows, too: path_resolution(7).
const maxLinks = 40

// follow returns where a symbolic link leads, whether there is a file or not.
func follow(path string) (string, error) {
	for range maxLinks {
		to, err := os.Readlink(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // EINVAL: no link
			return path, nil
		case err != nil:
			return "", err
		case !filepath.IsAbs(to):
			// ".." counts from where the directory really is.
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", err
			}
			to = filepath.Join(dir, to)
		}
		path = to
	}
	return "", errors.New("too many levels of symbolic links")
}
