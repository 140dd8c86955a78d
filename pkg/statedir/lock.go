package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrLocked is returned by Lock: another process has the directory.
var ErrLocked = errors.New("the directory is in use by another process")

// lockFile holds the process id of who has the directory.
const lockFile = "lock"

// Lock makes the directory this process's own until release is called or the process
// ends, however it does. It returns ErrLocked, with the other's process id if it can be
// read, if another has it. A directory that cannot be written has no lock, and needs none.
func (d *Dir) Lock() (release func(), err error) {
	if !d.writable {
		return func() {}, nil
	}
	path := filepath.Join(d.path, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		who := make([]byte, 20)
		n, _ := f.ReadAt(who, 0)
		_ = f.Close()
		return nil, fmt.Errorf("lock state directory %s: %w %s", d.path, ErrLocked, strings.TrimSpace(string(who[:n])))
	case err != nil: // a file system that has none
		_ = f.Close()
		return func() {}, nil
	}
	// For who finds it locked; without it the lock is as good.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return func() { _ = f.Close() }, nil
}
