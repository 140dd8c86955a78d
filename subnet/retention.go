package subnet

import (
	"maps"
	"slices"
	"time"
)

// retention says which peers to keep although the store has lost their leases: it was
// wiped, restored from a backup, or away until they expired. Their hosts are there, as
// this one is. A lease that is kept has no revision, and expires when it is kept no
// longer. All times are given; View has the lock.
type retention struct {
	lost   map[Key]Lease // the leases that are kept
	gone   []departure   // of peers that were not kept, oldest first
	ownAt  time.Time     // when our own lease vanished
	safeAt time.Time     // when our own lease could be renewed again
	atRisk bool          // our own lease cannot be renewed
}

type departure struct {
	lease Lease
	at    time.Time
}

const (
	// together is the window within which vanishing leases are taken to have one cause:
	// those that expired while the store was away go in its first seconds, one by one.
	together = 2 * time.Second
	// lostGrace is the shortest time for which a lease is kept, though it has expired:
	// hosts of this release have written theirs again by then.
	lostGrace = 30 * time.Second
)

// peerGone takes note that a peer's lease has vanished, and reports whether to keep it.
// It is kept if our own has vanished just before: then the store has probably lost both.
// While our own cannot be renewed, the peer's probably cannot either: it is kept if it has
// expired, as far as the store can tell. One with life left was deleted by somebody.
func (r *retention) peerGone(l Lease, unclear bool, now time.Time) bool {
	recent := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) <= together }
	expired := !l.Reserved() && (unclear || !l.Expires.After(now.Add(lostGrace))) // clocks differ
	if recent(r.ownAt) || expired && (r.atRisk || recent(r.safeAt)) {
		r.keep(l, now)
		return true
	}
	delete(r.lost, l.Key())
	r.gone = append(r.recent(now), departure{l, now})
	return false
}

// ownGone takes note that our own lease has vanished, and keeps the peers whose leases
// went just before. It reports whether there are any.
func (r *retention) ownGone(now time.Time) bool {
	gone := r.recent(now)
	r.ownAt, r.gone = now, nil
	for _, d := range gone {
		r.keep(d.lease, now)
	}
	return len(gone) > 0
}

// recent returns the departures that can have the same cause as one now.
func (r *retention) recent(now time.Time) []departure {
	return slices.DeleteFunc(r.gone, func(d departure) bool { return now.Sub(d.at) > together })
}

// ownAtRisk takes note whether our own lease cannot be renewed.
func (r *retention) ownAtRisk(is bool, now time.Time) {
	if r.atRisk && !is {
		r.safeAt = now // the others' come back after it
	}
	r.atRisk = is
}

// forgotten reports whether a store that lists leases at a revision has lost some of
// those that were known before, rather than that their hosts gave them up: it is behind
// what was known, or it lacks our own, or more than half of those that were not to
// expire yet.
func forgotten(before, store table, rev Revision, own Key, now time.Time) bool {
	due, missing, proof := 0, 0, false
	before.walk(store, func(l, _ Lease, there bool) {
		switch {
		case there:
		case l.Rev > rev, l.Key() == own:
			proof = true
		case l.Reserved() || l.Expires.After(now):
			missing++
		default:
			due++
		}
	})
	return proof || 2*missing > len(before)-due
}

// listed compares the store's leases with those that were known before. If the store
// has forgotten leases, all that it lacks are kept, but for our own.
func (r *retention) listed(before, store table, own Key, forgotten bool, now time.Time) {
	before.walk(store, func(l, _ Lease, there bool) {
		if forgotten && !there && l.Key() != own {
			r.keep(l, now)
		}
	})
	for _, l := range store {
		r.leased(l)
	}
}

// keep keeps a lease until the store would have removed it. A reservation is kept for a
// day, as no one knows whether it was given up.
func (r *retention) keep(l Lease, now time.Time) {
	if r.lost == nil {
		r.lost = make(map[Key]Lease)
	}
	if l.Reserved() {
		l.Expires = now.Add(DefaultTTL)
	}
	if least := now.Add(lostGrace); l.Expires.Before(least) {
		l.Expires = least
	}
	l.Rev = 0
	r.lost[l.Key()] = l
}

// expire drops what is kept no longer.
func (r *retention) expire(now time.Time) {
	maps.DeleteFunc(r.lost, func(_ Key, l Lease) bool { return !l.Expires.After(now) })
}

// leased takes note that the store has a lease, and drops those that cannot be beside
// it: their subnets are leased, or their host has this one.
func (r *retention) leased(now Lease) {
	k, public := now.Key(), now.V4.PublicIP
	excluded := func(l Lease) bool {
		return l.Key().Overlaps(k) || public.IsValid() && l.V4.PublicIP == public || now.Node != "" && l.Node == now.Node
	}
	maps.DeleteFunc(r.lost, func(_ Key, l Lease) bool { return excluded(l) })
	r.gone = slices.DeleteFunc(r.gone, func(d departure) bool { return excluded(d.lease) })
}
