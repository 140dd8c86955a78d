package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

func TestFirewallNames(t *testing.T) {
	if got := namesFor(""); got.postrouting() != "FLANNEL-POSTRTG" || got.forward() != "FLANNEL-FWD" || got.suffix != "" {
		t.Errorf("names of the first daemon are %+v", got)
	}
	a, b := namesFor("/a"), namesFor("/b")
	if a == b || a.filter() == b.filter() {
		t.Errorf("two daemons have the same names: %+v", a)
	}
	const most = 28 // of a chain's name, with iptables
	if len(a.postrouting()) > most {
		t.Errorf("%s has %d bytes, most are %d", a.postrouting(), len(a.postrouting()), most)
	}
}

func TestTallyOnlyGrows(t *testing.T) {
	var got []uint64
	var c dropped
	for _, now := range []uint64{5, 5, 9, 2, 3} { // made anew after 9
		c.add(map[string]uint64{"x": now})
		got = append(got, c.sum["x"])
	}
	if d := cmp.Diff([]uint64{5, 5, 9, 11, 12}, got); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
}

// TestFilterTable names the chains and sets; what rules do is tested with packets.
func TestFilterTable(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/48")
	plane := backend.Plane{Network: v4, Peers: []subnet.Claim{{Subnet: netip.MustParsePrefix("10.1.2.0/24"), PublicIP: netip.MustParseAddr("192.0.2.2")}}}
	plane6 := backend.Plane{Network: v6, Peers: []subnet.Claim{{Subnet: netip.MustParsePrefix("fd00:1:0:2::/64"), PublicIP: netip.MustParseAddr("2001:db8::2")}}}
	tunnel := backend.Ingress{Device: "flannel.1", Port: 8472, Kernel: true, VNI: 1}
	udp := backend.Ingress{Device: "flannel0", Port: 8285}
	in := []string{"input", "through", "prerouting"}
	tunnelSets := []string{
		"hosts4", "allowed4", "refused4", "subnets4", "spoofed4", "astray4", "hosts6", "allowed6", "refused6", "subnets6", "spoofed6", "astray6",
	}
	for _, row := range []struct {
		name         string
		ingress      backend.Ingress
		off, mark    bool
		chains, sets []string
	}{
		{"alloc", backend.Ingress{}, false, true, nil, nil},
		{"udp", udp, false, false, in, tunnelSets},
		{"udp, off, with Docker's nftables", udp, true, true, []string{"mark"}, nil},
		{"vxlan", tunnel, false, false, in, tunnelSets},
		{"vxlan, early", tunnel, false, false, []string{"input", "through", "early", "prerouting"}, tunnelSets},
		{"vxlan, with Docker's nftables", tunnel, false, true, append(slices.Clone(in), "mark"), tunnelSets},
		{"vxlan, off", tunnel, true, false, nil, nil},
		{"vxlan, off, with Docker's nftables", tunnel, true, true, []string{"mark"}, nil},
		{"alloc, masquerading", backend.Ingress{}, true, false, []string{"forward"}, nil},
		{"host-gw", backend.Ingress{Direct: true}, false, false, []string{"prerouting"}, []string{
			"subnets4", "spoofed4", "astray4", "subnets6", "spoofed6", "astray6",
		}},
	} {
		overlays := []overlay{
			{family{network: v4, ingress: row.ingress, underlay: "eth0"}, plane.Peers, false}, {family{network: v6, ingress: row.ingress, underlay: "eth0"}, plane6.Peers, false},
		}
		p := Policy{Filter: backend.Filter{Off: row.off}, Masquerade: strings.Contains(row.name, "masquerading")}
		table := filterTable(nft.ID{Family: nft.Inet, Name: "x"}, p, overlays, host{marks: row.mark, early: strings.Contains(row.name, "early")})
		if there := len(table.Counters) > 0; there != (row.chains != nil) {
			t.Errorf("%s: there is a table: %t", row.name, there)
		}
		var chains, sets []string
		for _, c := range table.Chains {
			chains = append(chains, c.Name)
		}
		for _, s := range table.Sets {
			sets = append(sets, s.Name)
		}
		if d := cmp.Diff([][]string{row.chains, row.sets}, [][]string{chains, sets}); d != "" {
			t.Errorf("%s: chains and sets (-want +got):\n%s", row.name, d)
		}
	}
}

func TestInterfacesOfAHost(t *testing.T) {
	addr := func(name, prefix string) netif.Addr {
		return netif.Addr{Interface: name, Prefix: netip.MustParsePrefix(prefix)}
	}
	addrs := []netif.Addr{
		addr("eth0", "192.0.2.11/24"), addr("eth0", "2001:db8::11/64"),
		addr("eth1", "192.0.2.12/24"), addr("eth1", "2001:db8::12/64"), // another card in the same subnets
		addr("docker0", "192.0.2.129/25"), addr("br-1", "10.1.9.1/24"), addr("br-1", "10.1.9.2/24"),
	}
	var h host
	for _, all := range [][]netif.Addr{addrs, addrs[2:]} { // eth0 is gone
		h.interfaces("eth0", all)
		if d := cmp.Diff([]string{"[192.0.2.0/24 2001:db8::/64]", "[eth1]"}, []string{fmt.Sprint(h.local), fmt.Sprint(h.beside)}); d != "" {
			t.Errorf("the underlay's subnets, and who else is in them (-want +got):\n%s", d)
		}
		if got := fmt.Sprint(h.inside); len(h.inside) != 2 || h.inside[0].Interface != "br-1" || h.inside[1].Interface != "docker0" || got != "[10.1.9.0/24 192.0.2.128/25]" {
			t.Errorf("subnets of others are %s", got)
		}
	}
}

func TestRefusedAreNamedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
		named := 0
		for i := range 2 * mostRefused {
			if r.mayName(addr(i)) {
				named++
			}
			if r.mayName(addr(i)) {
				t.Errorf("%d is named twice", i)
			}
		}
		if named != mostRefused {
			t.Errorf("%d are named, want %d", named, mostRefused)
		}
		time.Sleep(refusedGap + time.Second)
		r.tell(nft.Table{}, nil)
		if !r.mayName(addr(0)) {
			t.Errorf("nobody is named after %s", refusedGap)
		}
	})
}
