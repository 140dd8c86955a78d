// Package golden compares operations with files that hold the commands they
// print as, so that a person can check them.
package golden

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/datapath"
)

// Ops fails the test if the operations, one to a line, are not what the file
// says; with update it rewrites the file instead.
func Ops(t *testing.T, file string, ops []datapath.Op, update bool) {
	t.Helper()
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(op.String() + "\n")
	}
	if update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
