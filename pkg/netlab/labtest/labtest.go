// Package labtest makes labs for tests.
package labtest

import (
	"os"
	"testing"

	"flanneld/pkg/netlab"
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
