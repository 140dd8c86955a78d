package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/subnet/config"
	identity "flanneld/subnet/node"
)

// FuzzFiles are those that others may write: the subnet file and that of the
// password, and the machine's id.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("FLANNEL_NETWORK=10.100.0.0/16\nFLANNEL_SUBNET=10.100.29.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"))
	f.Add([]byte("FLANNEL_NETWORK=0.0.0.0/0\nFLANNEL_IPV6_NETWORK=10.0.0.0/7\nFLANNEL_SUBNET=fe80::1%eth0/64\n"))
	f.Add([]byte("secret\r\n"))
	f.Add([]byte("uninitialized\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, p := range networks(config.Config{}, readSubnetEnv(path, slog.New(slog.DiscardHandler))) {
			if !p.IsValid() || p.Bits() < widest || p != p.Masked() {
				t.Errorf("routes are looked for in %v", p)
			}
		}
		if s, err := readPassword(path); err == nil && (s == "" || strings.Contains(string(s), "\n") || !bytes.HasPrefix(data, []byte(s))) {
			t.Errorf("%q has the password %q", data, string(s))
		}
		if id := identity.ThisMachine(path).ID; id != "" && len(id) != 64 {
			t.Errorf("the machine is %q", id)
		}
	})
}
