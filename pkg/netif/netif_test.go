package netif

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func host() *table {
	ip := netip.MustParseAddr
	return &table{
		ifaces: []iface{
			{Interface{Name: "lo", Index: 1, MTU: 65536}, true, []netip.Addr{ip("127.0.0.1")}},
			{Interface{Name: "eth0", Index: 2, MTU: 1500}, false, []netip.Addr{ip("10.0.2.15"), ip("10.0.2.16"), ip("fd00::2")}},
			{Interface{Name: "eth1", Index: 3, MTU: 9000}, false, []netip.Addr{ip("192.168.1.11")}},
			{Interface{Name: "dead", Index: 4}, false, []netip.Addr{ip("192.168.9.1")}},
			{Interface{Name: "bare", Index: 5, MTU: 1500}, false, nil},
		},
		defaultRoute: func(bool) (int, error) { return 2, nil },
		reach: func(a netip.Addr) (int, netip.Addr, error) {
			if a == ip("192.168.1.1") {
				return 3, ip("192.168.1.11"), nil
			}
			return 0, netip.Addr{}, errors.New("network is unreachable")
		},
	}
}

func TestPick(t *testing.T) {
	ip := netip.MustParseAddr
	for _, tt := range []struct {
		name string
		q    Query
		want string // "name address", or what the error says
	}{
		{"default route", Query{}, "eth0 10.0.2.15"},
		{"by name", Query{Names: []string{"eth1"}}, "eth1 192.168.1.11"},
		{"by address, which is then used", Query{Names: []string{"10.0.2.16"}}, "eth0 10.0.2.16"},
		{"names in order", Query{Names: []string{"eth9", "eth1", "eth0"}}, "eth1 192.168.1.11"},
		{"regexp of an address", Query{Regexps: []string{`168\.1`}}, "eth1 192.168.1.11"},
		{"regexp of a name", Query{Regexps: []string{"th1"}}, "eth1 192.168.1.11"},
		{"names before regexps", Query{Names: []string{"eth0"}, Regexps: []string{"eth1"}}, "eth0 10.0.2.15"},
		{"can reach", Query{CanReach: ip("192.168.1.1")}, "eth1 192.168.1.11"},
		{"cannot reach", Query{CanReach: ip("8.8.8.8")}, "no such interface: none matches"},
		{"by public IP", Query{PublicV4: ip("192.168.1.11")}, "eth1 192.168.1.11"},
		{"public IP of a NAT", Query{PublicV4: ip("1.2.3.4")}, "name its interface with --iface"},
		{"none matches", Query{Names: []string{"eth9"}}, "none matches"},
		{"loopback never", Query{Names: []string{"lo"}}, "none matches"},
		{"MTU 0", Query{Names: []string{"dead"}}, "none matches"},
		{"no address", Query{Names: []string{"bare"}}, "none matches"},
		{"bad regexp", Query{Names: []string{"eth0"}, Regexps: []string{"("}}, "missing closing"},
		{"IPv6 too", Query{V6: true}, "eth0 10.0.2.15"},
		{"IPv6 missing", Query{V6: true, Names: []string{"eth1"}}, "none matches"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, err := host().pick(tt.q, slog.New(slog.DiscardHandler))
			got := i.Name + " " + i.V4.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCandidatesAreNamedWithoutLoopback(t *testing.T) {
	got := host().candidates()
	if !strings.Contains(got, "eth1 (192.168.1.11, mtu 9000)") || strings.Contains(got, "lo (") {
		t.Errorf("got %q", got)
	}
}
