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

// LockFile is the name of the file that holds the id of the process that has the directory.
const LockFile = "lock"

// Lock makes the directory this process's own until release is called or the process
// ends. If another process has it, Lock returns ErrLocked, with that one's id if it can
// be read. A directory that cannot be written has no lock, and needs none.
func (d *Dir) Lock() (release func(), err error) {
	if !d.writable {
		return func() {}, nil
	}
	path := filepath.Join(d.path, LockFile)
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
	case err != nil: // a file system without locks
		_ = f.Close()
		return func() {}, nil
	}
	// For the message of the next process; the lock holds without it.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return func() { _ = f.Close() }, nil
}
