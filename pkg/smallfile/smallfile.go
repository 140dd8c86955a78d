// Package smallfile reads files that somebody else may have put there. It does not know
// what is in them; it sees to it that whoever reads one neither waits nor runs out of
// memory.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Read returns the content of a regular file of at most so many bytes. The error is an
// *fs.PathError; it is fs.ErrNotExist if there is no file.
func Read(path string, most int64) ([]byte, error) {
	// Without O_NONBLOCK opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	data := []byte(nil)
	if info.Size() <= most { // else there is no need to read any of it
		data, err = io.ReadAll(io.LimitReader(f, most+1))
	}
	if err == nil && max(info.Size(), int64(len(data))) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", most)}
	}
	return data, err
}
