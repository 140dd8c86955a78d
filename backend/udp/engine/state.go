package engine

import (
	"errors"
	"fmt"
	"net/netip"
)

// State is where packets go and who may send some.
type State struct {
	// Addr is the device's own address, the source of ICMP errors. If it is invalid,
	// none are sent.
	Addr netip.Addr
	// Subnet is this host's. Filter lets only packets to it in.
	Subnet netip.Prefix
	// MTU is the length in bytes of the longest packet for a peer.
	MTU    int
	Peers  []Peer
	Filter Filter
}

// Peer is another host.
type Peer struct {
	Subnet   netip.Prefix // what lies behind it
	Endpoint netip.AddrPort
}

// Filter says which datagrams are let in. The zero value lets in those from a
// peer's address (the port does not matter), with a packet from that peer's
// subnet to ours.
type Filter struct {
	// Off lets everything in that is an IPv4 packet.
	Off bool
	// Extra are addresses from which peers may send as well, since theirs are
	// translated on the way. We cannot tell which peer sent such a packet, only that
	// the inner source is some peer's.
	Extra []netip.Prefix
}

// forwarding is a State made ready. It does not change.
type forwarding struct {
	addr      netip.Addr
	mtu       int
	table     table
	endpoints map[uint32]bool // addresses of all peers
	open      bool            // no filter
	subnet    network
	extra     []network
	peers     map[Peer]*peer
}

// network is a prefix as numbers; the zero value has all addresses.
type network struct{ address, mask uint32 }

func (n network) contains(address uint32) bool { return address&n.mask == n.address }

func networkOf(p netip.Prefix) network {
	mask := ^uint32(0) << (32 - p.Bits())
	return network{number(p.Addr()) & mask, mask}
}

// compile makes a State ready. Peers that stay the same keep what was found out about
// them. What is not valid is left out and makes an error.
func compile(s State, old *forwarding) (*forwarding, error) {
	f := &forwarding{
		mtu:       s.MTU,
		open:      s.Filter.Off,
		endpoints: make(map[uint32]bool, len(s.Peers)),
		peers:     make(map[Peer]*peer, len(s.Peers)),
	}
	var errs []error
	if s.Addr.Is4() {
		f.addr = s.Addr
	}
	if s.Subnet.IsValid() && s.Subnet.Addr().Is4() {
		f.subnet = networkOf(s.Subnet)
	} else {
		errs = append(errs, fmt.Errorf("our subnet %s is no IPv4 prefix", s.Subnet))
		f.subnet = network{1, 0} // has no address
	}
	for _, p := range s.Filter.Extra {
		if !p.IsValid() || !p.Addr().Is4() {
			errs = append(errs, fmt.Errorf("allow datagrams from %s: no IPv4 prefix", p))
			continue
		}
		f.extra = append(f.extra, networkOf(p))
	}
	for _, p := range s.Peers {
		if !p.Subnet.IsValid() || !p.Subnet.Addr().Is4() || !p.Endpoint.Addr().Is4() || p.Endpoint.Port() == 0 {
			errs = append(errs, fmt.Errorf("peer %s at %s is not IPv4 or has no port", p.Subnet, p.Endpoint))
			continue
		}
		known := old.peers[p]
		if known == nil {
			known = &peer{Peer: p, address: number(p.Endpoint.Addr())}
		}
		f.peers[p] = known
		f.table.insert(known)
		f.endpoints[known.address] = true
	}
	return f, errors.Join(errs...)
}

// admit decides on a packet by the address that its datagram came from, its source and
// its destination. The peer is set if the packet claims to be from it but did not come
// from its address.
func (f *forwarding) admit(from, src, dst uint32) (reason Reason, ok bool, claimed *peer) {
	if f.open {
		return 0, true, nil
	}
	p := f.table.lookup(src)
	switch {
	case p != nil && p.address == from:
	case p != nil && f.isExtra(from):
	case f.endpoints[from]:
		return ForeignSource, false, p
	default:
		return UnknownSender, false, p
	}
	if !f.subnet.contains(dst) {
		return ForeignDestination, false, nil
	}
	return 0, true, nil
}

func (f *forwarding) isExtra(from uint32) bool {
	for _, n := range f.extra {
		if n.contains(from) {
			return true
		}
	}
	return false
}
