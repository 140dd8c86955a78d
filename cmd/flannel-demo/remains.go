package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"flanneld/pkg/netlab"
)

// dirPrefix begins the names of directories of demonstrations, below that for temporary
// files. Each has a file with the lab's name, on which its process has a lock as long as it
// lives: who gets the lock has found what a killed one left.
const (
	dirPrefix = "flannel-demo-"
	labFile   = "lab"
)

// own makes a directory's demonstration, with a lab of that name, this process's until the file
// is closed.
func own(dir, lab string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, labFile))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return f, err
	}
	_, err = f.WriteString(lab)
	return f, err
}

// removeRemains removes what demonstrations have left whose process was killed.
func removeRemains() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeFrom(dir))
	}
	return errors.Join(errs...)
}

func removeFrom(dir string) error {
	f, err := os.Open(filepath.Join(dir, labFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is being made, or somebody else's
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // it runs
	}
	lab, err := os.ReadFile(f.Name())
	if err != nil || len(lab) == 0 {
		return err
	}
	fmt.Println("removing what a demonstration has left that was killed:", dir)
	if err := netlab.RemoveRemains(string(lab)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
