package engine

import (
	"net/netip"
	"slices"
)

// State is where packets go and who may send some. What is not IPv4 in it is left out.
type State struct {
	// Subnet is this host's. Its first address is the source of ICMP errors.
	Subnet netip.Prefix
	// MTU is the length in bytes of the longest packet for a peer.
	MTU   int
	Peers []Peer

	// Open lets everything in that is an IPv4 packet. Otherwise a datagram is let in
	// from a peer's address (the port does not matter), with a packet from that peer's
	// subnet to ours.
	Open bool
	// Allow are addresses from which peers may send as well, since theirs are
	// translated on the way. We cannot tell which peer sent such a packet, only that
	// the inner source is some peer's.
	Allow []netip.Prefix
}

// Peer is another host.
type Peer struct {
	Subnet   netip.Prefix // what lies behind it
	Endpoint netip.AddrPort
}

// forwarding is a State made ready. It does not change.
type forwarding struct {
	addr      netip.Addr // of this host in the overlay; the zero one: no ICMP errors are sent
	mtu       int
	table     table
	endpoints map[uint32]bool // addresses of all peers
	open      bool            // no filter
	subnet    network
	allow     []network
}

// network is a prefix as numbers; the zero value has all addresses.
type network struct{ address, mask uint32 }

func (n network) contains(address uint32) bool { return address&n.mask == n.address }

func networkOf(p netip.Prefix) network {
	mask := ^uint32(0) << (32 - p.Bits())
	return network{number(p.Addr()) & mask, mask}
}

// compile makes a State ready. Peers that stay the same keep what was found out about
// them.
func compile(s State, old *forwarding) *forwarding {
	f := &forwarding{
		mtu:       s.MTU,
		open:      s.Open,
		subnet:    network{1, 0}, // has no address
		endpoints: make(map[uint32]bool, len(s.Peers)),
	}
	if s.Subnet.Addr().Is4() {
		f.addr, f.subnet = s.Subnet.Addr(), networkOf(s.Subnet)
	}
	for _, p := range s.Allow {
		if p.Addr().Is4() {
			f.allow = append(f.allow, networkOf(p))
		}
	}
	for _, p := range s.Peers {
		if !p.Subnet.Addr().Is4() || !p.Endpoint.Addr().Is4() {
			continue
		}
		var known *peer
		if old != nil {
			known = old.table.at(p)
		}
		if known == nil {
			known = &peer{Peer: p, address: number(p.Endpoint.Addr())}
		}
		f.table.insert(known)
		f.endpoints[known.address] = true
	}
	return f
}

// admit decides on a packet by the address that its datagram came from, its source and
// its destination. It returns what the packet counts as: Packets if it is let in. The
// peer is set if the packet claims to be from it but did not come from its address.
func (f *forwarding) admit(from, src, dst uint32) (reason Counter, claimed *peer) {
	if f.open {
		return Packets, nil
	}
	p := f.table.lookup(src)
	switch {
	case p != nil && (p.address == from || f.allows(from)):
	case f.endpoints[from]:
		return ForeignSource, p
	default:
		return UnknownSender, p
	}
	if !f.subnet.contains(dst) {
		return ForeignDestination, nil
	}
	return Packets, nil
}

func (f *forwarding) allows(from uint32) bool {
	return slices.ContainsFunc(f.allow, func(n network) bool { return n.contains(from) })
}
