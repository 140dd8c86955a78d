package subnet

import (
	"maps"
	"slices"
	"time"
)

// retention says which peers to keep although the store has lost their leases: it was
// wiped, restored from a backup, or away until they expired. This host is there without
// a lease then, so its peers can be, too. All times are given; View has the lock.
type retention struct {
	lost   map[Key]Lease // the leases that are kept
	gone   []departure   // of peers that were not kept, oldest first
	ownAt  time.Time     // when our own lease vanished, or could be renewed again
	atRisk bool          // our own lease cannot be renewed
}

type departure struct {
	lease Lease
	at    time.Time
}

// together is the window within which vanishing leases are taken to have one cause:
// those that expired while the store was away go in its first seconds, one by one.
const together = 2 * time.Second

// peerGone takes note that a peer's lease has vanished, and reports whether to keep it.
// It is kept if our own has vanished just before, or cannot be renewed: then the store
// has probably lost both.
func (r *retention) peerGone(l Lease, now time.Time) bool {
	if r.atRisk || !r.ownAt.IsZero() && now.Sub(r.ownAt) <= together {
		r.keep(l)
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
		r.keep(d.lease)
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
		r.ownAt = now // the others' come back after it
	}
	r.atRisk = is
}

// listed compares the store's leases with those that were known before. If the store
// has forgotten leases, all that it lacks are kept, but for our own; else only those
// that were kept already.
func (r *retention) listed(before, store map[Key]Lease, own Key, forgotten bool) {
	if !forgotten {
		before = r.lost
	}
	r.lost = nil
	for k, l := range before {
		if _, there := store[k]; !there && k != own {
			r.keep(l)
		}
	}
	for k := range store {
		r.leased(k)
	}
}

func (r *retention) keep(l Lease) {
	if r.lost == nil {
		r.lost = make(map[Key]Lease)
	}
	r.lost[l.Key()] = l
}

// leased takes note that the store has a lease, and drops those that cannot be beside it.
func (r *retention) leased(k Key) {
	maps.DeleteFunc(r.lost, func(l Key, _ Lease) bool { return l.Overlaps(k) })
	r.gone = slices.DeleteFunc(r.gone, func(d departure) bool { return d.lease.Key().Overlaps(k) })
}
