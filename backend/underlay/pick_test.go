package underlay

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var ip = netip.MustParseAddr

func addrs(ips ...string) []addr {
	var all []addr
	for _, s := range ips {
		all = append(all, addr{ip: ip(s)})
	}
	return all
}

// host has the default route by eth0.
func host() *snapshot {
	return &snapshot{
		links: []link{
			{name: "lo", index: 1, mtu: 65536, loopback: true, addrs: addrs("192.0.2.7", "192.168.1.12")},
			{name: "tunnel", index: 7, mtu: 1450, excluded: true, addrs: addrs("10.9.0.0", "192.168.1.11", "fd00::9")},
			{name: "dead", index: 4, addrs: addrs("192.168.9.1", "fd00:9::1", "fe80::1")},
			{name: "bare", index: 5, mtu: 1500, addrs: addrs("fe80::1", "fe80::5")},
			{name: "eth0", index: 2, mtu: 1500, altNames: []string{"enp0s3"}, addrs: addrs("10.0.2.15", "10.0.2.16", "fd00::2", "fe80::1")},
			{name: "eth1", index: 3, mtu: 9000, addrs: append(addrs("192.168.1.11", "192.168.1.12"), addr{ip: ip("192.168.1.99"), deprecated: true})},
			{name: "eth2", index: 6, mtu: 1400, addrs: addrs("172.16.0.1", "fd00:16::1", "fd00:17::1", "fe80::1")},
		},
		defaults4: []defaultRoute{{metric: 0, index: 2}, {metric: 100, index: 3}},
		defaults6: []defaultRoute{{metric: 1024, index: 2}},
		reach: func(target netip.Addr) (int, netip.Addr, error) {
			switch target {
			case ip("192.168.1.1"):
				return 3, ip("192.168.1.12"), nil
			case ip("fd00:17::9"):
				return 6, ip("fd00:17::1"), nil
			case ip("172.16.0.9"):
				return 6, netip.Addr{}, nil
			case ip("10.0.2.15"):
				return 1, ip("10.0.2.15"), nil
			case ip("10.9.1.1"):
				return 7, ip("10.9.0.0"), nil
			case ip("5.5.5.5"):
				return 77, ip("5.5.5.1"), nil
			}
			return 0, netip.Addr{}, errors.New("network is unreachable")
		},
	}
}

func TestPick(t *testing.T) {
	for _, tt := range []struct {
		name string
		q    Query
		want string // "name address [address]", or a part of the error
	}{
		{"default route", Query{}, "eth0 10.0.2.15"},
		{"default routes of both families", Query{V6: true}, "eth0 10.0.2.15 fd00::2"},
		{"public IPv6 without IPv6", Query{PublicIPv6: ip("fd00:16::1")}, "eth0 10.0.2.15"},

		{"name", Query{Names: []string{"eth1"}}, "eth1 192.168.1.11"},
		{"alternative name", Query{Names: []string{"enp0s3"}}, "eth0 10.0.2.15"},
		{"names in order", Query{Names: []string{"eth9", "dead", "eth1", "eth0"}}, "eth1 192.168.1.11"},
		{"a part of a name", Query{Names: []string{"eth"}}, "no matching interface for --iface"},
		{"address, which is then used", Query{Names: []string{"10.0.2.16"}}, "eth0 10.0.2.16"},
		{"mapped address", Query{Names: []string{"::ffff:10.0.2.16"}}, "eth0 10.0.2.16"},
		{"IPv6 address, which is then used", Query{Names: []string{"fd00:17::1"}, V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"IPv6 address without IPv6", Query{Names: []string{"fd00:17::1"}}, "eth2 172.16.0.1"},
		{"address with zone", Query{Names: []string{"fe80::1%eth2"}, V6: true}, "eth2 172.16.0.1 fe80::1"},
		{"zone that lacks the address", Query{Names: []string{"fe80::1%eth1"}, V6: true}, "no matching interface"},
		{"deprecated address", Query{Names: []string{"192.168.1.99"}}, "eth1 192.168.1.99"},
		{"address of lo and of another", Query{Names: []string{"192.168.1.12"}}, "eth1 192.168.1.12"},
		{"address of lo only", Query{Names: []string{"192.0.2.7"}}, "no matching interface"},
		{"loopback address", Query{Names: []string{"127.0.0.1"}}, "no matching interface"},
		{"loopback", Query{Names: []string{"lo"}}, "no matching interface"},
		{"excluded", Query{Names: []string{"tunnel"}}, "no matching interface"},
		{"address of an excluded one", Query{Names: []string{"10.9.0.0"}}, "no matching interface"},
		{"address of an excluded one and of another", Query{Names: []string{"192.168.1.11"}}, "eth1 192.168.1.11"},
		{"regexp of an excluded one and of another", Query{Regexps: []string{`tunnel|eth2`}}, "eth2 172.16.0.1"},
		{"regexp of an address of an excluded one", Query{Regexps: []string{`^10\.9|^172`}}, "eth2 172.16.0.1"},
		{"can reach by an excluded one", Query{CanReach: ip("10.9.1.1")}, "no matching interface"},
		{"public IP of an excluded one", Query{PublicIP: ip("10.9.0.0")}, "interface tunnel is one that lies on top"},
		{"MTU 0", Query{Names: []string{"dead"}}, "no matching interface"},
		{"no IPv4 address", Query{Names: []string{"bare"}}, "no matching interface"},
		{"no IPv6 address", Query{Names: []string{"eth1"}, V6: true}, "no matching interface"},
		{"name and public IP of it", Query{Names: []string{"eth1"}, PublicIP: ip("192.168.1.12")}, "eth1 192.168.1.12"},
		{"name and deprecated public IP", Query{Names: []string{"eth1"}, PublicIP: ip("::ffff:192.168.1.99")}, "eth1 192.168.1.99"},
		{"name and public IP of lo", Query{Names: []string{"eth0"}, PublicIP: ip("192.0.2.7")}, "eth0 192.0.2.7"},
		{"name and public IP of another", Query{Names: []string{"eth0"}, PublicIP: ip("172.16.0.1")}, "eth0 172.16.0.1"},
		{"name and public IP of an excluded one", Query{Names: []string{"eth0"}, PublicIP: ip("10.9.0.0")}, "eth0 10.0.2.15"},
		{"name and public IPv6", Query{Names: []string{"eth2"}, PublicIPv6: ip("fd00:17::1"), V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"names over the public IP", Query{Names: []string{"eth1"}, PublicIP: ip("1.2.3.4")}, "eth1 192.168.1.11"},

		{"regexp of an address, which is then used", Query{Regexps: []string{`\.16$`}}, "eth0 10.0.2.16"},
		{"regexp is not anchored", Query{Regexps: []string{`68\.1`}}, "eth1 192.168.1.11"},
		{"addresses before names", Query{Regexps: []string{`eth0|172\.`}}, "eth2 172.16.0.1"},
		{"regexp of a name", Query{Regexps: []string{"th1"}}, "eth1 192.168.1.11"},
		{"regexp passes over what cannot be used", Query{Regexps: []string{"^(lo|dead|bare|eth2)$"}}, "eth2 172.16.0.1"},
		{"regexps in order", Query{Regexps: []string{"^wlan", "eth2", "eth1"}}, "eth2 172.16.0.1"},
		{"regexp of deprecated address", Query{Regexps: []string{`\.99$`}}, "no matching interface"},
		{"regexp of both families", Query{Regexps: []string{`^10\.|^172\.16|^fd00:17`}, V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"regexp of one family of two", Query{Regexps: []string{`^172\.16`}, V6: true}, "no matching interface"},
		{"names before regexps", Query{Names: []string{"eth9", "eth0"}, Regexps: []string{"eth1"}}, "eth0 10.0.2.15"},
		{"regexps after names", Query{Names: []string{"eth9"}, Regexps: []string{"eth1"}, CanReach: ip("172.16.0.9")}, "eth1 192.168.1.11"},

		{"can reach, with the kernel's source", Query{CanReach: ip("192.168.1.1")}, "eth1 192.168.1.12"},
		{"can reach by IPv6", Query{CanReach: ip("fd00:17::9"), V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"can reach, no source", Query{CanReach: ip("172.16.0.9")}, "eth2 172.16.0.1"},
		{"can reach comes last", Query{Names: []string{"eth9"}, Regexps: []string{"x"}, CanReach: ip("192.168.1.1")}, "eth1 192.168.1.12"},
		{"cannot reach", Query{CanReach: ip("8.8.8.8")}, "no matching interface"},
		{"can reach itself", Query{CanReach: ip("10.0.2.15")}, "no matching interface"},
		{"can reach by an interface that is new", Query{CanReach: ip("5.5.5.5")}, "no matching interface"},

		{"public IP", Query{PublicIP: ip("192.168.1.12")}, "eth1 192.168.1.12"},
		{"public IPs", Query{PublicIP: ip("172.16.0.1"), PublicIPv6: ip("fd00:17::1"), V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"public IPv6", Query{PublicIPv6: ip("fd00:16::1"), V6: true}, "eth2 172.16.0.1 fd00:16::1"},
		{"public IPs of two interfaces", Query{PublicIP: ip("10.0.2.15"), PublicIPv6: ip("fd00:17::1"), V6: true}, "none has 10.0.2.15 and fd00:17::1"},
		{"public IP of loopback", Query{PublicIP: ip("192.0.2.7")}, "eth0 192.0.2.7"},
		{"public IP beside a name", Query{Names: []string{"eth1"}, PublicIP: ip("192.168.1.12")}, "eth1 192.168.1.12"},
		{"public IP of loopback beside a name", Query{Names: []string{"eth1"}, PublicIP: ip("192.0.2.7")}, "eth1 192.0.2.7"},
		{"public IPv6 beside a name", Query{Names: []string{"eth2"}, PublicIPv6: ip("fd00:17::1"), V6: true}, "eth2 172.16.0.1 fd00:17::1"},
		{"translated public IP beside a name", Query{Names: []string{"eth1"}, PublicIP: ip("1.2.3.4")}, "eth1 192.168.1.11"},
		{"an overlay's public IP beside a name", Query{Names: []string{"eth1"}, PublicIP: ip("10.9.0.0")}, "eth1 192.168.1.11"},
		{"translated public IP", Query{PublicIP: ip("1.2.3.4")}, "give --iface too"},
		{"public IP of a dead interface", Query{PublicIP: ip("192.168.9.1")}, "interface dead has an MTU of 0; candidates"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var exprs []*regexp.Regexp
			for _, expr := range tt.q.Regexps {
				exprs = append(exprs, regexp.MustCompile(expr))
			}
			i, err := choose(host(), tt.q, exprs, slog.New(slog.DiscardHandler))
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %q, want %q", err, tt.want)
				}
				return
			}
			got := i.Name + " " + i.V4.String()
			if i.V6.IsValid() {
				got += " " + i.V6.String()
			}
			if got != tt.want || i.MTU == 0 || i.Index == 0 {
				t.Errorf("got %+v, want %q", i, tt.want)
			}
		})
	}
}

func TestPickByDefaultRoute(t *testing.T) {
	for _, tt := range []struct {
		name      string
		four, six []defaultRoute
		v6        bool
		want      string
	}{
		{"lowest metric", []defaultRoute{{metric: 100, index: 2}, {metric: 50, index: 3}, {metric: 200, index: 6}}, nil, false, "eth1"},
		{"first of the same metric", []defaultRoute{{metric: 50, index: 3}, {metric: 50, index: 2}}, nil, false, "eth1"},
		{"several hops, worse metric", []defaultRoute{{metric: 100, index: 0}, {metric: 50, index: 3}}, nil, false, "eth1"},
		{"several hops", []defaultRoute{{metric: 50, index: 0}, {metric: 100, index: 3}}, nil, false, "could not determine interface: it leaves by several; choose one with --iface"},
		{"none", nil, nil, false, "unable to find default route; choose an interface with --iface"},
		{"none for IPv6", []defaultRoute{{metric: 0, index: 2}}, nil, true, "choose for IPv6: no matching interface: unable to find default route"},
		{"one interface", []defaultRoute{{metric: 0, index: 6}}, []defaultRoute{{metric: 1024, index: 6}}, true, "eth2"},
		{"two interfaces", []defaultRoute{{metric: 0, index: 2}}, []defaultRoute{{metric: 1024, index: 6}}, true, "leaves by eth0, the IPv6 one by eth2"},
		{"IPv6 does not count", []defaultRoute{{metric: 0, index: 2}}, []defaultRoute{{metric: 1024, index: 6}}, false, "eth0"},
		{"MTU 0", []defaultRoute{{metric: 0, index: 4}}, nil, false, "interface dead has an MTU of 0"},
		{"excluded interface", []defaultRoute{{metric: 0, index: 7}}, nil, false, "interface tunnel is one that lies on top"},
		{"interface that is new", []defaultRoute{{metric: 0, index: 77}}, nil, false, "leaves by interface 77"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := host()
			s.defaults4, s.defaults6 = tt.four, tt.six
			i, err := pick(s, Query{V6: tt.v6}, nil, slog.New(slog.DiscardHandler))
			got := i.Name
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != tt.want || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorListsCandidates(t *testing.T) {
	_, err := choose(host(), Query{Names: []string{"eth9"}}, nil, slog.New(slog.DiscardHandler))
	want := "find external interface: no matching interface for --iface, --iface-regex or --iface-can-reach; candidates are " +
		"dead: 192.168.9.1 fd00:9::1 fe80::1, MTU 0; eth0: 10.0.2.15 10.0.2.16 fd00::2 fe80::1, MTU 1500; " +
		"eth1: 192.168.1.11 192.168.1.12 192.168.1.99, MTU 9000; eth2: 172.16.0.1 fd00:16::1 fd00:17::1 fe80::1, MTU 1400"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !errors.Is(err, errNoMatch) {
		t.Error("the error is not errNoMatch")
	}
	if _, err := choose(&snapshot{}, Query{}, nil, slog.New(slog.DiscardHandler)); !strings.HasSuffix(err.Error(), "candidates are none") {
		t.Error(err)
	}
}

func TestLogSaysWhatIsTried(t *testing.T) {
	for _, tt := range []struct {
		name string
		q    Query
		want string
	}{
		{"default", Query{V6: true}, "INFO Determining IP address of default interface\n" +
			"INFO Using interface with name eth0 and address 10.0.2.15 mtu=1500 v6=fd00::2\n" +
			"INFO Using 10.0.2.15 as external interface\n"},
		{"failures", Query{Names: []string{"10.9.9.9", "dead", "eth1"}}, "INFO Searching for interface using 10.9.9.9\n" +
			"INFO Could not find valid interface matching 10.9.9.9 err=no matching interface: none has 10.9.9.9\n" +
			"INFO Could not find valid interface matching dead err=interface dead has an MTU of 0\n" +
			"INFO Using interface with name eth1 and address 192.168.1.11 mtu=9000\n" +
			"INFO Using 192.168.1.11 as external interface\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
			if _, err := choose(host(), tt.q, nil, log); err != nil {
				t.Fatal(err)
			}
			got := strings.NewReplacer("level=", "", "msg=", "", `"`, "").Replace(buf.String())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
