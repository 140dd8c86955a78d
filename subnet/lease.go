// Package subnet decides which host has which part of the network: it takes a lease on
// a free subnet, holds it, follows the leases of all other hosts, and keeps those that a
// store has lost for a while. It does not know how a lease is stored (see [Store] and
// the packages etcd2, etcd3 and memstore), what the configuration looks like (see
// subnet/config), nor what a backend does with a lease.
package subnet

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"flanneld/pkg/words"
)

// Lease is one host's claim on a part of the network, as it is in the store.
type Lease struct {
	V4, V6  Claim     // zero if the family is disabled
	Type    string    // backend type; empty for udp and alloc, which never wrote one
	Node    string    // id of the host that wrote it; empty if that was an older daemon, which has none
	Contest string    // of a host that asks whether the lease's own is there; empty: none does
	Mirror  string    // of a copy: the keyspace where its host has the original; empty: this is an original
	Expires time.Time // by the store's clock, or at the latest (see Store); zero for a reservation, which never expires
	Rev     Revision  // of the store when the lease was read or written
}

// Claim is one address family's half of a lease. Claims are comparable.
type Claim struct {
	Subnet   netip.Prefix // masked
	PublicIP netip.Addr   // where the host's tunnel endpoint is reached; invalid if the lease has none
	Data     string       // the backend's raw JSON, byte for byte as stored; empty if none
}

// IsZero reports whether the claim's family is disabled.
func (c Claim) IsZero() bool { return !c.Subnet.IsValid() }

// Key identifies a lease in the store: its subnets. A disabled family's prefix
// is the zero Prefix.
type Key struct{ V4, V6 netip.Prefix }

// Key returns the lease's identity in the store.
func (l Lease) Key() Key { return Key{l.V4.Subnet, l.V6.Subnet} }

// Reserved reports whether the lease is a reservation: a key without a TTL,
// which an operator made permanent.
func (l Lease) Reserved() bool { return l.Expires.IsZero() }

// SameClaim reports whether both leases say the same to a peer: everything but
// the expiry and the revision, which change with each renewal, what only two hosts
// with one address or one id tell each other, the node's id and a contest, and whether it
// is a copy.
func (l Lease) SameClaim(m Lease) bool {
	return l.V4 == m.V4 && l.V6 == m.V6 && l.Type == m.Type
}

// Same reports whether both are one value in the store.
func (l Lease) Same(m Lease) bool {
	return l.SameClaim(m) && l.Node == m.Node && l.Contest == m.Contest && l.Mirror == m.Mirror
}

// Compare orders leases by their IPv4 subnet, then by their IPv6 one.
func (l Lease) Compare(m Lease) int { return l.Key().Compare(m.Key()) }

// holder names a lease's host.
func (l Lease) holder() string {
	if l.Node == "" {
		return l.V4.PublicIP.String()
	}
	return fmt.Sprintf("%s (node %s)", l.V4.PublicIP, l.Node)
}

// data returns what tells two hosts with one address apart.
func (l Lease) data() string {
	s := words.Clip(l.Type) + " " + words.Clip(l.V4.Data)
	if !l.V6.IsZero() {
		s += " " + l.V6.PublicIP.String() + " " + words.Clip(l.V6.Data)
	}
	return s
}

// contradicts reports whether the leases cannot be of one host's device: a value
// that the data of both name differs. Releases name more or fewer of them.
func (l Lease) contradicts(m Lease) bool {
	return l.Type == m.Type && (differ(l.V4.Data, m.V4.Data) || differ(l.V6.Data, m.V6.Data))
}

func differ(a, b string) bool {
	if a == b || a == "" || b == "" {
		return false
	}
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return true
	}
	for name, value := range x {
		if other, ok := y[name]; ok && !reflect.DeepEqual(value, other) {
			return true
		}
	}
	return false
}

// Compare orders keys by their IPv4 subnet, then by their IPv6 one.
func (k Key) Compare(m Key) int {
	if c := k.V4.Compare(m.V4); c != 0 || k.V6 == m.V6 {
		return c
	}
	return k.V6.Compare(m.V6)
}

// Overlaps reports whether the keys share addresses of either family.
func (k Key) Overlaps(m Key) bool { return overlap(k.V4, m.V4) || overlap(k.V6, m.V6) }

// String returns the subnets, as a person reads them: "10.1.74.0/24" or
// "10.1.74.0/24 fd00::/64".
func (k Key) String() string {
	switch {
	case !k.V6.IsValid():
		return k.V4.String()
	case !k.V4.IsValid():
		return k.V6.String()
	}
	return k.V4.String() + " " + k.V6.String()
}

// overlap is false if either is the zero Prefix.
func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
