package hostgw_test

import (
	"flag"
	"net/netip"
	"strings"
	"testing"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/backend/hostgw"
	"flanneld/pkg/datapath"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

var newBackend = backendtest.Configured(hostgw.Configure)

func TestBackend(t *testing.T) { backendtest.Run(t, newBackend, `{"Type":"host-gw"}`) }

func TestGolden(t *testing.T) {
	peer, at := backendtest.Peer, backendtest.At
	route := func(dst, gateway string, protocol uint8) datapath.Route {
		return datapath.Route{Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr(gateway), Link: "eth0", Protocol: protocol}
	}
	backendtest.Golden(t, newBackend, nil, map[string]backendtest.Case{
		"no-peers":    {Planes: backendtest.DualStack()},
		"one-peer":    {Planes: backendtest.IPv4(peer(2))},
		"three-peers": {Planes: backendtest.IPv4(peer(2), peer(3), peer(4))},
		"dual-stack":  {Planes: backendtest.DualStack(2, 3)},
		"blackhole":   {Planes: backendtest.Blackhole(backendtest.DualStack(2))},
		"moved-peer":  {Before: backendtest.IPv4(peer(2), peer(3)), Planes: backendtest.IPv4(at(peer(2), "192.0.2.99"), peer(3))},
		"ipv6-off":    {Before: backendtest.DualStack(2), Planes: backendtest.IPv4(peer(2))},
		"peer-joins":  {Before: backendtest.IPv4(peer(2)), Planes: backendtest.IPv4(peer(2), peer(3))},
		"peer-leaves": {Before: backendtest.IPv4(peer(2), peer(3)), Planes: backendtest.IPv4(peer(3))},
		"after-vxlan": {Have: backendtest.Tunnel("flannel.1", 1), Planes: backendtest.IPv4(peer(2), peer(9))},
		"foreign-route-to-a-peer": {Have: []datapath.Object{
			route("10.5.2.0/24", "192.0.2.2", backendtest.Boot),
			route("10.5.3.0/24", "192.0.2.3", backendtest.Boot),
		}, Planes: backendtest.IPv4(peer(2))},
		"stale-route": {Have: []datapath.Object{
			route("10.5.2.0/24", "192.0.2.2", backendtest.Protocol),
			route("10.5.3.0/24", "192.0.2.3", backendtest.Protocol),
			route("10.5.4.0/22", "192.0.2.4", backendtest.Protocol),
			route("10.6.3.0/24", "192.0.2.3", backendtest.Protocol), // outside the network
		}, Planes: backendtest.IPv4(peer(2))},
	}, *update)
}

func TestUnreachablePeerDoesNotHinderTheOthers(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	b, err := newBackend("", h.Params())
	if err != nil {
		t.Fatal(err)
	}
	far := backendtest.At(backendtest.Peer(2), "198.51.100.2")
	planes := backendtest.IPv4(far, backendtest.Peer(3), backendtest.Peer(4))
	for range 2 {
		err := h.Set(t.Context(), b, planes)
		if !datapath.OnlyRoutes(err, 3) || !strings.Contains(err.Error(), "ip route replace 10.5.2.0/24 via 198.51.100.2") {
			t.Errorf("Set: %v, want the failure of one route", err)
		}
		if err != nil && !strings.Contains(err.Error(), "on one layer 2 network, that of eth0") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
	for _, route := range []string{"10.5.3.0/24 via 192.0.2.3", "10.5.4.0/24 via 192.0.2.4"} {
		if !strings.Contains(h.String(), route) {
			t.Errorf("no route %s in\n%s", route, h)
		}
	}
}

func TestLeaseAndMTU(t *testing.T) { backendtest.Plain(t, newBackend, "host-gw") }

func TestNewRefusesAnotherPublicIP(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*backend.Underlay)
		want   string // in the error; empty: none
	}{
		"the interface's own":  {func(*backend.Underlay) {}, ""},
		"IPv4 only":            {func(u *backend.Underlay) { u.V6, u.PublicV6 = netip.Addr{}, netip.Addr{} }, ""},
		"IPv6 is not overlaid": {func(u *backend.Underlay) { u.PublicV6 = netip.Addr{} }, ""},
		"another IPv4 address": {func(u *backend.Underlay) { u.PublicV4 = netip.MustParseAddr("203.0.113.1") },
			"your PublicIP 203.0.113.1 differs from interface IP 192.0.2.1, meaning that probably you're on a NAT, which is not supported by host-gw backend"},
		"another IPv6 address": {func(u *backend.Underlay) { u.PublicV6 = netip.MustParseAddr("2001:db8::99") },
			"your PublicIP 2001:db8::99 differs from interface IP 2001:db8::1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := backendtest.NewHost(t, nil).Params()
			test.change(&p.Underlay)
			_, err := newBackend("", p)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
		})
	}
}
