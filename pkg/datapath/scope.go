package datapath

import (
	"net/netip"
	"slices"
)

// OwnsLink reports whether the link and all that hangs on it are ours.
func (s Scope) OwnsLink(name, alias string) bool {
	return slices.Contains(s.Links, name) || s.Owner != "" && alias == s.Owner
}

// InNetworks reports whether a destination lies within one of the networks.
func (s Scope) InNetworks(p netip.Prefix) bool {
	for _, n := range s.Networks {
		if n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Route returns r as the scope sees it, and whether it covers r at all.
// linkOwned says whether OwnsLink holds for r's link.
func (s Scope) Route(r Route, linkOwned bool) (Route, bool) {
	if linkOwned && r.Protocol == ProtocolKernel {
		return r, false // comes and goes with the link's addresses
	}
	inside := s.InNetworks(r.Dst)
	r.Foreign = !linkOwned && !(inside && r.Protocol == s.Protocol)
	return r, linkOwned || inside
}
