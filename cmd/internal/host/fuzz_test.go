package host

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSubnetFile: whatever others write in it, routes are looked for in networks only.
func FuzzSubnetFile(f *testing.F) {
	f.Add([]byte("FLANNEL_NETWORK=10.100.0.0/16\nFLANNEL_SUBNET=10.100.29.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"))
	f.Add([]byte("FLANNEL_NETWORK=0.0.0.0/0\nFLANNEL_IPV6_NETWORK=10.0.0.0/7\nFLANNEL_SUBNET=fe80::1%eth0/64\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, p := range ReadSubnetEnv(path, slog.New(slog.DiscardHandler)).Networks() {
			if !p.IsValid() || p.Bits() < widest || p != p.Masked() {
				t.Errorf("routes are looked for in %v", p)
			}
		}
	})
}

// FuzzDaemonJSON: whatever lies where Docker's configuration is looked for, nothing but the
// keys that Docker refuses is named.
func FuzzDaemonJSON(f *testing.F) {
	f.Add([]byte(`{"bip": "172.17.0.1/16", "mtu": 1400, "ip-masq": false, "bridge": "none"}`))
	f.Add([]byte(`{"default-network-opts": {"bridge": {"bip": 1}}}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "daemon.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var file map[string]any
		known := json.Unmarshal(data, &file) == nil
		for key := range strings.SplitSeq(Refused(path), ", ") {
			if _, ok := file[key]; key != "" && !(known && ok) {
				t.Errorf("%q is said to have %s", data, key)
			}
		}
	})
}
