package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/subnet"
)

func TestBridgeThatContainersCannotBeReachedOn(t *testing.T) {
	own := netip.MustParsePrefix("10.100.5.0/24")
	prefixes := func(s ...string) (all []netip.Prefix) {
		for _, p := range s {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	for _, tt := range []struct {
		name         string
		addrs        []netip.Prefix
		large        map[string]int
		what, remedy string // parts; empty: nothing is wrong
	}{
		{name: "not there yet"},
		{name: "as told", addrs: prefixes("10.100.5.1/24")},
		{name: "Docker's own choice", addrs: prefixes("172.17.0.1/16"), what: "docker0 has 172.17.0.1/16, which is not this host's subnet 10.100.5.0/24", remedy: "--bip=10.100.5.1/24 --mtu=1450"},
		{name: "the whole network", addrs: prefixes("10.100.5.1/16"), what: "docker0 has 10.100.5.1/16", remedy: "--bip=10.100.5.1/24"},
		{name: "the last run's subnet beside it", addrs: prefixes("10.100.4.1/24", "10.100.5.1/24")},
		{name: "large containers", addrs: prefixes("10.100.5.1/24"), large: map[string]int{"veth1": 1500, "veth0": 9000},
			what: "2 containers on docker0 have an MTU above the overlay's 1450 (veth0 9000)", remedy: "--mtu=1450"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := checkBridge("docker0", tt.addrs, tt.large, Handover{subnet.Key{V4: own}, 1450})
			if (p == (Problem{})) != (tt.what == "") || !strings.Contains(p.What, tt.what) || !strings.Contains(p.Remedy, tt.remedy) {
				t.Errorf("check = %q; want %q, %q", p, tt.what, tt.remedy)
			}
		})
	}
}

// Without its bridge Docker may have refused to start.
func TestDockerThatIsToldTwice(t *testing.T) {
	dir := t.TempDir()
	subnetFile, options := filepath.Join(dir, "subnet.env"), filepath.Join(dir, "docker")
	for _, tt := range []struct {
		name, file string
		noOptions  bool
		want       string // the keys
	}{
		{name: "one key", file: `{"bip": "172.17.0.1/16"}`, want: "sets bip, which"},
		{name: "all keys", file: `{"mtu": 1, "bip": "", "bridge": "none", "ip-masq": true}`, want: "sets bip, bridge, mtu, ip-masq, which"},
		{name: "other keys", file: `{"debug": true, "default-network-opts": {"bridge": {"mtu": 1}}}`},
		{name: "no JSON", file: `{"bip`},
		{name: "no options for Docker", file: `{"bip": "172.17.0.1/16"}`, noOptions: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "daemon.json")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(options, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.noOptions {
				os.Remove(options)
			}
			p := checkRefused("docker0", path, subnetFile)
			if (p == (Problem{})) != (tt.want == "") || !strings.Contains(p.What, tt.want) || p.What != "" && !strings.Contains(p.Remedy, path) {
				t.Errorf("the check says %q, want %q", p, tt.want)
			}
		})
	}
}
