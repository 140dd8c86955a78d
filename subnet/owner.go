package subnet

import (
	"net/netip"
	"slices"
	"time"
)

// owner says whose a lease is, as a host sees it.
type owner int

const (
	others owner = iota
	ours
	rivals     // another node's, with our PublicIP
	duplicates // our node id's, with a PublicIP that we never had
)

// whose says whose a lease is to a host with a node id (empty: none) and the
// PublicIPs that it publishes or has published. What an older daemon wrote has no
// id, and is its PublicIP's.
func whose(l Lease, node string, publics ...netip.Addr) owner {
	known := l.V4.PublicIP.IsValid() && slices.Contains(publics, l.V4.PublicIP)
	unnamed := l.Node == "" || node == ""
	switch {
	case known && (unnamed || l.Node == node):
		return ours
	case known:
		return rivals
	case !unnamed && l.Node == node:
		return duplicates
	}
	return others
}

// writes are the last few leases that a host has written under its key before, oldest
// first: a write that comes late is still its own.
type writes []Lease

func (w *writes) add(l Lease) {
	const most = 8
	if *w = append(*w, l); len(*w) > most {
		*w = (*w)[1:]
	}
}

// whose is the function whose for the host that publishes now.
func (w writes) whose(l, now Lease) owner {
	publics := []netip.Addr{now.V4.PublicIP}
	for _, was := range w {
		publics = append(publics, was.V4.PublicIP)
	}
	return whose(l, now.Node, publics...)
}

// imitated reports whether a lease that seems to be ours is another host's with our
// PublicIP. It is not if it says what we do or did earlier, nor if it has our node id
// and can be of this host's device, as what an operator writes.
func (w writes) imitated(l, now Lease) bool {
	return !l.SameClaim(now) && (l.Node == "" || l.contradicts(now)) && !slices.ContainsFunc(w, l.SameClaim)
}

// stale returns the host's stale leases, which lie beside the one that it holds: their
// writes had been given up, and came late. Only those that live until then are returned,
// since no other host may have the key before it is deleted. A copy is the mirror's.
func (w writes) stale(all []Lease, held Lease, then time.Time) []Lease {
	return slices.DeleteFunc(slices.Clone(all), func(l Lease) bool {
		return l.Key() == held.Key() || l.Node != held.Node || w.whose(l, held) != ours || l.Mirror != "" || l.Reserved() || !l.Expires.After(then)
	})
}
