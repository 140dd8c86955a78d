package firewall_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/firewall"
)

func text(rules []firewall.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

func TestOverlayRules(t *testing.T) {
	network, own := netip.MustParsePrefix("10.5.0.0/16"), netip.MustParsePrefix("10.5.1.0/24")
	network6, own6 := netip.MustParsePrefix("fd00:5::/48"), netip.MustParsePrefix("fd00:5:0:1::/64")
	commented := func(rules []firewall.Rule) []firewall.Rule { return firewall.Commented("some overlay", rules) }
	for _, row := range []struct {
		name string
		got  []firewall.Rule
		want string
	}{
		{"postrouting", commented(firewall.Postrouting(network, own, firewall.RandomFully)), `-m mark --mark 0x4000/0x4000 -m comment --comment "some overlay" -j RETURN
-s 10.5.1.0/24 -d 10.5.0.0/16 -m comment --comment "some overlay" -j RETURN
-s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "some overlay" -j RETURN
! -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "some overlay" -j RETURN
-s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "some overlay" -j MASQUERADE --random-fully
! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "some overlay" -j MASQUERADE --random-fully
`},
		{"postrouting, IPv6", firewall.Postrouting(network6, own6, ""), `-m mark --mark 0x4000/0x4000 -j RETURN
-s fd00:5:0:1::/64 -d fd00:5::/48 -j RETURN
-s fd00:5::/48 -d fd00:5:0:1::/64 -j RETURN
! -s fd00:5::/48 -d fd00:5:0:1::/64 -j RETURN
-s fd00:5::/48 ! -d ff00::/8 -j MASQUERADE
! -s fd00:5::/48 -d fd00:5::/48 -j MASQUERADE
`},
		{"forward", commented(firewall.Forward(network)), `-s 10.5.0.0/16 -m comment --comment "some overlay" -j ACCEPT
-d 10.5.0.0/16 -m comment --comment "some overlay" -j ACCEPT
`},
		{"inbound", commented(firewall.Inbound(own, []firewall.Rule{
			{In: firewall.Iface{Name: "tun0"}}, {In: firewall.Iface{Name: "eth0"}, Src: firewall.In(network)},
			{In: firewall.Iface{Name: "eth0"}, Mark: firewall.Mark{Value: 16, Mask: 16}},
		})),
			`-d 10.5.1.0/24 -i tun0 -m comment --comment "some overlay" -j ACCEPT
-s 10.5.0.0/16 -d 10.5.1.0/24 -i eth0 -m comment --comment "some overlay" -j ACCEPT
-d 10.5.1.0/24 -i eth0 -m mark --mark 0x10/0x10 -m comment --comment "some overlay" -j ACCEPT
`},
	} {
		if d := cmp.Diff(row.want, text(row.got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, d)
		}
		for _, r := range row.got {
			if parsed := firewall.ParseRule(r.String()); parsed != r {
				t.Errorf("%s: %s is read as %s", row.name, r, parsed)
			}
		}
	}
}
