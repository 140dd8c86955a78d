package etcdproc

import (
	"errors"
	"testing"
)

// Start runs an etcd until the test is over and returns its clients' URL. The
// test is skipped if etcd is not installed.
func Start(t testing.TB) string {
	t.Helper()
	return StartProc(t).URL
}

// StartProc is Start for tests that also stop the process, or that give it
// arguments.
func StartProc(t testing.TB, args ...string) *Proc {
	t.Helper()
	p, err := Run(t.Context(), t.TempDir(), args...)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}
