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

// New returns a lab that is closed at the end of the test. It skips the test if this
// process cannot build a lab, and the test fails if the lab cannot be removed.
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
		t.Skip("only root can make a network namespace:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
}

// Emulated is the environment variable that is set where qemu emulates the tests'
// processor.
const Emulated = "FLANNELD_TEST_EMULATED"

// Native skips a test under emulation: the test needs kernel interfaces that qemu does
// not emulate, or takes minutes there.
func Native(t testing.TB) {
	t.Helper()
	if os.Getenv(Emulated) != "" {
		t.Skip("this test does not run under emulation, and " + Emulated + " is set")
	}
}
