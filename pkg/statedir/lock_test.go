package statedir

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestLockIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	release, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Lock(); !errors.Is(err, ErrLocked) || !strings.HasSuffix(err.Error(), " "+strconv.Itoa(os.Getpid())) {
		t.Errorf("Lock = %v, want who has it", err)
	}
	release()
	release, err = again.Lock()
	if err != nil {
		t.Errorf("Lock = %v, though it is free", err)
	}
	release()
}

func TestLockOfNoDirectory(t *testing.T) {
	release, err := Memory().Lock()
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestLockFollowsNoLink(t *testing.T) {
	path := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(path, LockFile)); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); err == nil {
		t.Error("a link was followed")
	}
}
