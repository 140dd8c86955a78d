package main

import (
	"os"
	"path/filepath"
	"testing"

	identity "flanneld/subnet/node"
)

// FuzzFiles is about a file that others write: the machine's id.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("uninitialized\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if id := identity.ThisMachine(path).ID; id != "" && len(id) != 64 {
			t.Errorf("the machine is %q", id)
		}
	})
}
