package backend_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

func TestPlanesLeaveOutWhatALaterLeaseExcludes(t *testing.T) {
	lease := func(key, public, data string, rev subnet.Revision) subnet.Lease {
		return subnet.Lease{Type: "vxlan", Rev: rev, V4: subnet.Claim{
			Subnet: netip.MustParsePrefix(key), PublicIP: netip.MustParseAddr(public), Data: data}}
	}
	dual := func(l subnet.Lease, key, public string) subnet.Lease {
		l.V6 = subnet.Claim{Subnet: netip.MustParsePrefix(key), PublicIP: netip.MustParseAddr(public)}
		return l
	}
	routed := func(l subnet.Lease) subnet.Lease {
		l.Type = "host-gw"
		return l
	}
	own := dual(lease("10.5.1.0/24", "192.0.2.1", "own", 1), "fd00:5:0:1::/64", "2001:db8::1")
	other := lease("10.5.9.0/24", "192.0.2.9", "nine", 2)
	for _, test := range []struct {
		name   string
		leases []subnet.Lease
		v4, v6 []string
	}{
		{"no subnet of another length",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "two", 4), lease("10.5.2.0/25", "192.0.2.3", "three", 5), lease("10.5.4.0/23", "192.0.2.4", "four", 5), other},
			[]string{"10.5.2.0/24", "10.5.9.0/24"}, nil},
		{"none outside SubnetMin and SubnetMax",
			[]subnet.Lease{lease("10.5.0.0/24", "192.0.2.2", "two", 4), lease("10.5.255.0/24", "192.0.2.3", "three", 5), other},
			[]string{"10.5.9.0/24"}, nil},
		{"a host that has become dual-stack",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "two", 4), dual(lease("10.5.2.0/24", "192.0.2.2", "two", 5), "fd00:5:0:2::/64", "2001:db8::2")},
			[]string{"10.5.2.0/24"}, []string{"fd00:5:0:2::/64"}},
		{"an endpoint that has moved, and left a lease",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "two", 4), lease("10.5.3.0/24", "192.0.2.3", "two", 5)},
			[]string{"10.5.3.0/24"}, nil},
		{"two subnets of one host",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "two", 4), lease("10.5.3.0/24", "192.0.2.2", "two", 5)},
			[]string{"10.5.2.0/24", "10.5.3.0/24"}, nil},
		{"another host with our IPv6 address",
			[]subnet.Lease{dual(lease("10.5.2.0/24", "192.0.2.2", "two", 4), "fd00:5:0:2::/64", "2001:db8::1")},
			[]string{"10.5.2.0/24"}, nil},
		{"a backend whose Data means nothing",
			[]subnet.Lease{routed(lease("10.5.2.0/24", "192.0.2.2", "{}", 4)), routed(lease("10.5.3.0/24", "192.0.2.3", "{}", 5))},
			[]string{"10.5.2.0/24", "10.5.3.0/24"}, nil},
		{"leases without endpoints",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "", 4), lease("10.5.3.0/24", "192.0.2.3", "", 5)},
			[]string{"10.5.2.0/24", "10.5.3.0/24"}, nil},
		// With udp each such packet would come back out of the tunnel, and go in again.
		{"a PublicIP in the peer's own subnet",
			[]subnet.Lease{lease("10.5.2.0/24", "10.5.2.1", "two", 4), other},
			[]string{"10.5.9.0/24"}, nil},
		{"a PublicIP in another's subnet, and in ours",
			[]subnet.Lease{lease("10.5.2.0/24", "10.5.9.7", "two", 4), lease("10.5.3.0/24", "10.5.1.7", "three", 4), other},
			[]string{"10.5.9.0/24"}, nil},
		{"a newcomer whose subnet covers others' PublicIPs",
			[]subnet.Lease{lease("10.5.2.0/24", "10.5.77.2", "two", 3), lease("10.5.3.0/24", "10.5.77.3", "three", 4), lease("10.5.77.0/24", "192.0.2.7", "seven", 5), other},
			[]string{"10.5.2.0/24", "10.5.3.0/24", "10.5.9.0/24"}, nil},
		{"one that has been there longer, and covers several",
			[]subnet.Lease{lease("10.5.2.0/24", "10.5.77.2", "two", 5), lease("10.5.3.0/24", "10.5.77.3", "three", 4), lease("10.5.77.0/24", "192.0.2.7", "seven", 3), other},
			[]string{"10.5.2.0/24", "10.5.3.0/24", "10.5.9.0/24"}, nil},
		{"an address that is no host's",
			[]subnet.Lease{lease("10.5.2.0/24", "255.255.255.255", "two", 5), lease("10.5.3.0/24", "198.51.100.255", "three", 4), lease("10.5.4.0/24", "198.51.100.0", "four", 3),
				lease("10.5.5.0/24", "169.254.1.1", "five", 3), lease("10.5.6.0/24", "240.0.0.1", "six", 3), lease("10.5.7.0/24", "0.1.2.3", "seven", 3),
				lease("10.5.8.0/24", "224.0.0.1", "eight", 3), other},
			[]string{"10.5.9.0/24"}, nil},
		{"what covers an address that this host reaches otherwise",
			[]subnet.Lease{lease("10.5.66.0/24", "192.0.2.2", "two", 4), other},
			[]string{"10.5.9.0/24"}, nil},
		{"an IPv6 one, and a PublicIP in the Network where nobody has a subnet",
			[]subnet.Lease{dual(lease("10.5.2.0/24", "10.5.77.7", "two", 4), "fd00:5:0:2::/64", "fd00:5:0:2::7")},
			[]string{"10.5.2.0/24"}, nil},
		{"what cannot be forwarded to outdoes nothing",
			[]subnet.Lease{lease("10.5.2.0/24", "192.0.2.2", "two", 4), lease("10.5.3.0/24", "127.0.0.1", "two", 5), lease("10.5.1.128/25", "192.0.2.7", "two", 6)},
			[]string{"10.5.2.0/24"}, nil},
	} {
		m := backend.Members{V4: pool(t, "10.5.0.0/16", 24, "10.5.1.0", "10.5.250.0"), V6: pool(t, "fd00:5::/48", 64, "fd00:5:0:1::", "fd00:5:0:ffff::"),
			Own: own, Leases: append(slices.Clone(test.leases), own), Local: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
			Needed: []backend.Needed{{Prefix: netip.MustParsePrefix("10.5.66.6/32"), What: "etcd's address"}}}
		if m.Own.Type = test.leases[0].Type; m.Own.Type == "host-gw" {
			m.Own.V4.Data = "" // it publishes none
		}
		planes, _ := backend.Planes(m)
		for i, want := range [][]string{test.v4, test.v6} {
			var got []string
			for _, p := range planes[i].Peers {
				got = append(got, p.Subnet.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: peers are %v, want %v", test.name, got, want)
			}
		}
	}
}

func pool(t testing.TB, network string, length int, first, last string) config.Range {
	t.Helper()
	return config.Range{Network: netip.MustParsePrefix(network), SubnetLen: length, Min: netip.MustParseAddr(first), Max: netip.MustParseAddr(last)}
}

// TestPlanesTakeNothingFromPeers has a lease of a peer that is renewed, beside one that
// came later and was not written since.
func TestPlanesTakeNothingFromPeers(t *testing.T) {
	lease := func(key, public string, rev subnet.Revision) subnet.Lease {
		return subnet.Lease{Type: "vxlan", Rev: rev, V4: subnet.Claim{Subnet: netip.MustParsePrefix(key), PublicIP: netip.MustParseAddr(public)}}
	}
	peer := lease("10.5.2.0/24", "10.5.77.2", 1)
	m := backend.Members{V4: pool(t, "10.5.0.0/16", 24, "10.5.1.0", "10.5.250.0"), Own: lease("10.5.1.0/24", "192.0.2.1", 1), Leases: []subnet.Lease{peer}}
	m.Before, _ = backend.Planes(m)
	for _, rev := range []subnet.Revision{2, 9} {
		peer.Rev = rev
		m.Leases = []subnet.Lease{peer, lease("10.5.77.0/24", "192.0.2.7", 3)}
		planes, faults := backend.Planes(m)
		if len(planes[0].Peers) != 1 || planes[0].Peers[0] != peer.V4 || len(faults) != 1 {
			t.Errorf("revision %d: peers are %v, faults %v", rev, planes[0].Peers, faults)
		}
		m.Before = planes
	}
}

func TestFaultsSayWhatIsWrong(t *testing.T) {
	lease := func(key, public string) subnet.Lease {
		return subnet.Lease{Type: "vxlan", V4: subnet.Claim{Subnet: netip.MustParsePrefix(key), PublicIP: netip.MustParseAddr(public)}}
	}
	own := lease("10.5.1.0/24", "192.0.2.1")
	other := lease("10.5.2.0/24", "192.0.2.2")
	other.Type = ""
	m := backend.Members{V4: pool(t, "10.5.0.0/16", 24, "10.5.1.0", "10.5.20.0"), Own: own, Needed: []backend.Needed{{netip.MustParsePrefix("10.5.11.11/32"), "etcd's address"}}, Local: []netip.Prefix{netip.MustParsePrefix("10.5.7.0/25")}, Leases: []subnet.Lease{
		own, other, lease("10.5.3.0/24", "192.0.2.1"), lease("10.5.1.128/25", "192.0.2.3"), lease("10.6.0.0/24", "192.0.2.4"),
		lease("10.5.7.0/24", "192.0.2.5"), lease("10.5.8.0/24", "127.0.0.1"), lease("10.5.9.0/24", "192.0.2.9"), lease("10.5.10.0/24", "192.0.2.9"),
		lease("10.5.11.0/24", "192.0.2.11"), lease("10.5.12.0/25", "192.0.2.12"), lease("10.5.13.0/24", "10.5.10.9"),
	}}
	planes, faults := backend.Planes(m)
	if len(planes) != 1 || len(planes[0].Peers) != 2 {
		t.Errorf("planes are %v, want one with two peers", planes)
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprint(f.Attrs[slices.Index(f.Attrs, any("subnet"))+1])+" "+f.Level.String()+" "+f.Text)
	}
	want := []string{
		"10.5.2.0/24 WARN Ignoring non-vxlan subnet: type=udp (or alloc)",
		"10.5.3.0/24 ERROR Another lease has this host's PublicIP: a second host publishes it, or it is a left-over. Give each host its own with --public-ip or --iface",
		"10.5.1.128/25 ERROR Another host's lease overlaps this host's; ignoring it",
		"10.6.0.0/24 ERROR Ignoring a lease: it is not within the Network 10.5.0.0/16",
		"10.5.7.0/24 ERROR Ignoring a lease: its subnet overlaps one that this host itself is in",
		"10.5.8.0/24 ERROR Ignoring a lease: its PublicIP is no host's address",
		"10.5.10.0/24 ERROR Two leases have one PublicIP: two hosts publish it, or one is a left-over",
		"10.5.11.0/24 ERROR Ignoring a lease: its subnet covers what this host reaches without the overlay, etcd's address (10.5.11.11/32); let SubnetMin and SubnetMax leave that out",
		"10.5.12.0/25 ERROR Ignoring a lease: the configuration leases nothing but a /24 from 10.5.1.0 to 10.5.20.0; restart that host's daemon, or delete the lease",
		"10.5.13.0/24 ERROR Ignoring a lease: its PublicIP is an address in the overlay, and packets to it would loop. Give that host another one, with --iface or --public-ip",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	m.Fenced, m.Blackhole = true, true
	if planes, faults := backend.Planes(m); len(planes[0].Peers) != 0 || !planes[0].Fenced || !planes[0].Blackhole || faults != nil {
		t.Errorf("fenced: %v, %v", planes, faults)
	}
}
