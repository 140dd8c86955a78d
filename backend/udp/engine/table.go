package engine

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
)

// peer is a Peer and what was found out about it.
type peer struct {
	Peer
	address uint32 // of the endpoint
	// piecewise is the time from which on a GSO batch may be tried again, in
	// nanoseconds since 1970; zero if none was refused.
	piecewise atomic.Int64
	reported  atomic.Bool // that its packets came from another address

	// The path, see prober; lengths of packets in bytes.
	probed   atomic.Int32 // what it was asked about last; zero: nothing, or long ago
	answered atomic.Int32 // the longest that was answered since
	limit    atomic.Int32 // the longest that it carries; zero: what the device carries
}

// table finds the peer whose subnet is the longest that contains an address. It has a
// map for each length of subnets: an overlay has one length, or two while its
// configuration changes. It does not change once it is made.
type table struct{ levels []level }

type level struct {
	mask  uint32
	peers map[uint32]*peer // by the subnet's address
}

// insert adds a peer, in place of another with the same subnet.
func (t *table) insert(p *peer) {
	mask := ^uint32(0) << (32 - p.Subnet.Bits())
	// A longer subnet has the numerically larger mask.
	i, found := slices.BinarySearchFunc(t.levels, mask, func(l level, mask uint32) int { return cmp.Compare(mask, l.mask) })
	if !found {
		t.levels = slices.Insert(t.levels, i, level{mask, make(map[uint32]*peer)})
	}
	t.levels[i].peers[number(p.Subnet.Addr())&mask] = p
}

// at returns what is known of a peer; nil if the table has none of that subnet and endpoint.
func (t *table) at(p Peer) *peer {
	mask := ^uint32(0) << (32 - p.Subnet.Bits())
	for _, l := range t.levels {
		if l.mask != mask {
			continue
		}
		if known := l.peers[number(p.Subnet.Addr())&mask]; known != nil && known.Peer == p {
			return known
		}
	}
	return nil
}

// lookup returns nil if no subnet has the address.
func (t *table) lookup(address uint32) *peer {
	for i := range t.levels {
		l := &t.levels[i]
		if p := l.peers[address&l.mask]; p != nil {
			return p
		}
	}
	return nil
}

// number returns an IPv4 address as the number that it is.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
