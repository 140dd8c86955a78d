package netif

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be without its privileges")
	}
	if err := CheckPrivilege("the test"); err != nil {
		t.Errorf("with CAP_NET_ADMIN: %v", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its capabilities
		if err := dropNetAdmin(); err != nil {
			done <- err
			return
		}
		done <- CheckPrivilege("the test")
	}()
	if err := <-done; !errors.Is(err, unix.EPERM) {
		t.Errorf("without CAP_NET_ADMIN: %v, want EPERM", err)
	}
}

func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&header, &data[0])
}
