package backend_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"flanneld/backend"
	"flanneld/subnet"
)

// FuzzHostileLeases takes what anybody who can write to the store could: leases of eleven
// bytes each. No plane has a peer by which this host would lose its own subnet, its
// underlay or etcd, or to which packets would go round, and the next pass decides alike.
func FuzzHostileLeases(f *testing.F) {
	add := func(leases ...[]byte) { f.Add(slices.Concat(leases...)) }
	add([]byte{10, 7, 1, 0, 24, 192, 0, 2, 7, 1, 1}, []byte{10, 8, 1, 0, 24, 192, 0, 2, 8, 2, 2})
	add([]byte{10, 1, 1, 0, 24, 192, 0, 2, 7, 1, 1}, []byte{10, 0, 0, 0, 8, 192, 0, 2, 8, 2, 2}, []byte{0, 0, 0, 0, 0, 192, 0, 2, 9, 3, 3})
	add([]byte{10, 2, 2, 0, 24, 192, 0, 2, 7, 1, 1}, []byte{10, 5, 1, 128, 25, 192, 0, 2, 8, 2, 2}, []byte{10, 9, 9, 0, 24, 10, 5, 1, 1, 3, 3})
	add([]byte{10, 7, 1, 0, 24, 10, 8, 1, 1, 1, 1}, []byte{10, 8, 1, 0, 24, 10, 7, 1, 1, 2, 2}, []byte{10, 9, 1, 0, 24, 10, 9, 1, 1, 3, 1})
	add([]byte{10, 7, 1, 0, 24, 10, 1, 1, 255, 1, 1}, []byte{10, 8, 1, 0, 24, 255, 255, 255, 255, 2, 2}, []byte{10, 9, 1, 0, 24, 10, 1, 1, 11, 3, 1})
	own := subnet.Lease{Type: "vxlan", V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.5.1.0/24"), PublicIP: netip.MustParseAddr("10.1.1.11"), Data: "own"}}
	underlay, etcd := netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("10.2.2.2/32")
	f.Fuzz(func(t *testing.T, b []byte) {
		m := backend.Members{V4: pool(t, "10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0"), Own: own,
			Local: []netip.Prefix{underlay}, Needed: []backend.Needed{{Prefix: etcd, What: "etcd's address"}}}
		for c := range slices.Chunk(b, 11) {
			if len(c) < 11 {
				break
			}
			m.Leases = append(m.Leases, subnet.Lease{Type: "vxlan", Rev: subnet.Revision(c[9]), V4: subnet.Claim{
				Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte(c[:4])), int(c[4]%33)).Masked(),
				PublicIP: netip.AddrFrom4([4]byte(c[5:9])), Data: string(c[10:])}})
		}
		m.Leases = slices.CompactFunc(slices.SortedFunc(slices.Values(m.Leases), subnet.Lease.Compare),
			func(a, b subnet.Lease) bool { return a.Key() == b.Key() }) // a store has one of each
		planes, _ := backend.Planes(m)
		peers := planes[0].Peers
		for i, p := range peers {
			switch {
			case p.Subnet.Overlaps(underlay), p.Subnet.Overlaps(etcd), p.Subnet.Overlaps(own.V4.Subnet), !m.V4.Contains(p.Subnet):
				t.Errorf("a route to %s", p.Subnet)
			case p.PublicIP == own.V4.PublicIP, !p.PublicIP.IsGlobalUnicast(), own.V4.Subnet.Contains(p.PublicIP),
				slices.ContainsFunc(peers, func(q subnet.Claim) bool { return q.Subnet.Contains(p.PublicIP) }):
				t.Errorf("%s is sent to %s", p.Subnet, p.PublicIP)
			case i > 0 && peers[i-1].Subnet.Compare(p.Subnet) >= 0:
				t.Errorf("%s after %s", p.Subnet, peers[i-1].Subnet)
			}
		}
		m.Before = planes
		if again, _ := backend.Planes(m); !reflect.DeepEqual(again, planes) {
			t.Errorf("planes are %v, then %v", planes, again)
		}
	})
}
