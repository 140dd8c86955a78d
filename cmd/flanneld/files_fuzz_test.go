package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	identity "flanneld/subnet/node"
)

// FuzzFiles are those that others may write: that of the password, and the machine's
// id.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("secret\r\n"))
	f.Add([]byte("uninitialized\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := readPassword(path); err == nil && (s == "" || strings.Contains(string(s), "\n") || !bytes.HasPrefix(data, []byte(s))) {
			t.Errorf("%q has the password %q", data, string(s))
		}
		if id := identity.ThisMachine(path).ID; id != "" && len(id) != 64 {
			t.Errorf("the machine is %q", id)
		}
	})
}
