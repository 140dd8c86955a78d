package host

import (
	"net/netip"
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
			what: "2 of the containers on docker0 have an MTU above the overlay's 1450 (veth0 9000)", remedy: "--mtu=1450"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := checkBridge("docker0", tt.addrs, tt.large, Handover{subnet.Key{V4: own}, 1450})
			if (p == (Problem{})) != (tt.what == "") || !strings.Contains(p.What, tt.what) || !strings.Contains(p.Remedy, tt.remedy) {
				t.Errorf("check = %q; want %q, %q", p, tt.what, tt.remedy)
			}
		})
	}
}
