package subnet

import "net/netip"

// owner is whose a lease is, as a host sees it.
type owner int

const (
	others owner = iota
	ours
	rivals // another node's, with our PublicIP
	twins  // our node id's, with a PublicIP that we never had
)

// whose says whose a lease is to a host with a node id (empty: none) and the
// PublicIPs that it publishes or has published. What an older daemon wrote has no
// id, and is its PublicIP's.
func whose(l Lease, node string, publics ...netip.Addr) owner {
	known := false
	for _, p := range publics {
		known = known || p.IsValid() && p == l.V4.PublicIP
	}
	switch {
	case l.Node == "" || node == "":
		if known {
			return ours
		}
	case l.Node == node && known:
		return ours
	case l.Node == node:
		return twins
	case known:
		return rivals
	}
	return others
}
