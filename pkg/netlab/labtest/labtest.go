// Package labtest makes labs for tests.
package labtest

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"flanneld/pkg/netlab"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// New returns a lab that is gone at the end of the test. The test is skipped if there
// can be none here, and fails if something of it is left.
func New(t testing.TB) *netlab.Lab {
	t.Helper()
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// OwnNamespace moves the test to a network namespace of its own. Its thread is never
// unlocked, so that it ends with the test's goroutine and no other code runs in the
// namespace.
func OwnNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		runtime.UnlockOSThread()
		t.Skip("a network namespace can be made by root only:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
}

// Emulated names the variable of the environment that says that tests run under qemu's
// emulation of programs.
const Emulated = "FLANNELD_TEST_EMULATED"

// Native skips a test under emulation: it needs interfaces of the kernel that qemu does
// not emulate, or it computes for minutes there.
func Native(t testing.TB) {
	t.Helper()
	if os.Getenv(Emulated) != "" {
		t.Skip("is not for emulation, which " + Emulated + " says this is")
	}
}
