package subnet

import (
	"fmt"
	"net/netip"
	"slices"
)

// check compares what the View has under our key with what we wrote.
func (k *keeper) check() error {
	now, rev, ok := k.View.at(k.lease.Key())
	stale := ok && now.Rev < k.lease.Rev // a quiet renewal is no event
	switch {
	case !ok && !k.seen && rev < k.lease.Rev:
		return nil // our own write is still on its way
	case !ok && k.next == renewing && rev < k.lease.Rev:
		// That the key went is older than our last write, and a View which is that far
		// behind has yet to hear of it; or the store was wiped and counts anew.
		k.seen = false
		k.next, k.due = settling, k.up()
		return nil
	case !ok && k.next == renewing:
		return k.gone()
	case !ok || stale && k.whose(now) == ours:
		return nil
	case now.Rev == k.compared:
		k.seen = true
		return nil
	case stale:
		// Either the View is behind or the store was wiped and counts anew.
		if k.next == renewing {
			k.next, k.due = settling, k.up()
		}
		return nil
	}
	k.seen = true
	return k.compare(now)
}

func (k *keeper) whose(l Lease) owner {
	publics := []netip.Addr{k.lease.V4.PublicIP}
	for _, was := range k.known {
		publics = append(publics, was.V4.PublicIP)
	}
	return whose(l, k.lease.Node, publics...)
}

// compare takes what the store has under our key for the truth.
func (k *keeper) compare(now Lease) error {
	k.compared = now.Rev
	switch k.whose(now) {
	case others:
		return fmt.Errorf("%w: %s is leased to %s now", ErrLost, k.lease.Key(), now.holder())
	case rivals:
		return fmt.Errorf("%w: %s is leased to %s now, and this host is node %s with the same PublicIP; "+
			"give each host its own with --public-ip or --iface", ErrLost, k.lease.Key(), now.holder(), k.lease.Node)
	case twins:
		return k.answer(now)
	}
	same := now.SameClaim(k.lease) && now.Node == k.lease.Node
	foreign := now.Rev != k.lease.Rev
	if k.lease.Reserved() && !now.Reserved() {
		k.until, k.due = k.up()+k.ttl, k.up() // what they were is of the time before the reservation
		k.shorten(now)
	}
	k.lease.Rev, k.lease.Expires, k.differs = now.Rev, now.Expires, !same
	if k.next != renewing {
		k.next, k.due = renewing, k.up()
		if !k.Unverified { // what is ours and not written as we write it would be refused again and again
			k.due += k.retries.Next()
		}
		k.Unverified = false
	}
	if now.Reserved() {
		k.doubt = "" // it is there, and stays
	}
	switch {
	case now.Reserved() && !now.contradicts(k.lease): // an operator's
	case same && foreign:
		k.hasten(now)
	case same:
	case now.SameClaim(k.lease), now.Node != "", slices.ContainsFunc(k.known, now.SameClaim):
		// An older daemon on this host, or an operator; or our own earlier write.
		k.hasten(now)
	default:
		// Writing it back at once would start a fight that neither wins: our value
		// waits for the regular renewal.
		k.due = max(k.due, k.last+min(k.seldom, k.latest))
		k.rivalry.failed("Another host publishes our PublicIP, and only one of the two gets traffic; "+
			"give each its own with --public-ip or --iface", "PublicIP", now.V4.PublicIP, "subnet", now.Key(),
			"theirs", now.data(), "ours", k.lease.data())
	}
	return nil
}

// hasten renews in time what was written for us by somebody else, perhaps to
// expire earlier.
func (k *keeper) hasten(now Lease) {
	_, wall := k.Clock()
	left := now.Expires.Sub(wall)
	if due := k.up() + max(min(left/2, left-k.safety), 0); left < k.ttl/2 && due < k.due {
		k.due = due
		k.shorten(now)
	}
}

// shorten brings the deadline forward to that of a key which somebody else has given
// less life. There is time for one try to renew it, since only the wall clock tells how
// much that is, and that can be wrong.
func (k *keeper) shorten(now Lease) {
	_, wall := k.Clock()
	k.until = min(k.until, k.up()+max(now.Expires.Sub(wall)-k.safety, k.patience))
}

// answer deals with a host that has our node id and has written over our key. If
// we have held it for a while that is a copy of this host, and has not: its write
// is written over, once, and it finds itself another id. One that does it again
// thinks the same of us.
func (k *keeper) answer(now Lease) error {
	if k.fought || k.up()-k.began < k.retryMax || k.over() {
		return fmt.Errorf("%w: %w: %s is leased to %s now", ErrLost, ErrTwin, k.lease.Key(), now.holder())
	}
	k.Log.Error("A host with a copy of this host's state directory has taken its lease; taking it back",
		"subnet", k.lease.Key(), "theirs", now.V4.PublicIP, "ours", k.lease.V4.PublicIP, "node", now.Node)
	k.fought, k.differs = true, true
	k.lease.Rev, k.lease.Expires = now.Rev, now.Expires
	k.next, k.due = renewing, k.up()
	return nil
}

// holder names a lease's host.
func (l Lease) holder() string {
	if l.Node == "" {
		return l.V4.PublicIP.String()
	}
	return fmt.Sprintf("%s (node %s)", l.V4.PublicIP, l.Node)
}

// data returns what tells two hosts with one address apart.
func (l Lease) data() string {
	s := l.Type + " " + l.V4.Data
	if !l.V6.IsZero() {
		s += " " + l.V6.PublicIP.String() + " " + l.V6.Data
	}
	return s
}
