// Package labtest makes labs for tests.
package labtest

import (
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
