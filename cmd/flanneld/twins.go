package main

import (
	"net/netip"

	"flanneld/backend/vxlan"
	"flanneld/subnet"
)

// withoutTwins returns the family's claims of leases but those that say the same as
// another one: of one subnet, or with one tunnel endpoint on two hosts. The kernel has
// room for one of them, and whichever was written last is of a host that was there
// then; the others may be what it, or another one, has left. Outdone is called with
// each of these, and why.
func withoutTwins(leases []subnet.Lease, family func(subnet.Lease) subnet.Claim, outdone func(l subnet.Lease, why string)) []subnet.Claim {
	subnets := make(map[netip.Addr]subnet.Lease, len(leases)) // by the first address, which is the gateway of a tunnel
	endpoints := make(map[string]subnet.Lease, len(leases))   // by the Data of vxlan, which names it
	for _, l := range leases {
		c := family(l)
		if last, ok := subnets[c.Subnet.Addr()]; !ok || l.Rev > last.Rev {
			subnets[c.Subnet.Addr()] = l
		}
		if last, ok := endpoints[c.Data]; l.Type == vxlan.Type && c.Data != "" && (!ok || l.Rev > last.Rev) {
			endpoints[c.Data] = l
		}
	}
	claims := make([]subnet.Claim, 0, len(leases))
	for _, l := range leases {
		c := family(l)
		if subnets[c.Subnet.Addr()].Key() != l.Key() {
			outdone(l, "another one of that subnet was written later")
			continue
		}
		if last, ok := endpoints[c.Data]; ok && family(last).PublicIP != c.PublicIP {
			outdone(l, "another one has its tunnel endpoint at another PublicIP and was written later: "+
				"is it a left-over, or was a machine cloned with its state directory?")
			continue
		}
		claims = append(claims, c)
	}
	return claims
}
