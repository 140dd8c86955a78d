package subnet

import (
	"maps"
	"slices"
	"sync"
	"time"

	"flanneld/pkg/wake"
)

// Snapshot is all leases at one revision. A lease in it may be newer than that:
// events go on from the revision, and what they say of an older state is
// recognised by the lease's own revision.
type Snapshot struct {
	Leases []Lease
	Rev    Revision
}

// View is the latest known state of all leases. It is safe for concurrent use.
type View struct {
	mu     sync.Mutex
	leases table       // that the store has
	rev    Revision    // that the View is known to have reached
	lost   retention   // with the leases that are kept although the store lacks them
	freed  []Key       // of leases that have gone, oldest first
	subs   []wake.Chan // of Subscribe
	own    ownLease    // that is held here; zero: none
	resets int         // how often the View was replaced
}

// ownLease is a lease that this host holds. Its holder is told of every write of it,
// renewals included, and of all else that its node writes.
type ownLease struct {
	key     Key
	node    string    // empty: none
	written wake.Chan // nil if there is no lease: then a token goes nowhere
}

// NewView returns an empty View.
func NewView() *View { return new(View) }

// Subscribe has c woken whenever a claim comes, goes or changes, or the number of Lost. A renewal changes
// none, so the fleet's daily renewals wake nobody.
func (v *View) Subscribe(c wake.Chan) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subs = append(v.subs, c)
}

// hold makes a lease this host's own until release. The returned channel holds a token
// if the lease was written, or another by the same node.
func (v *View) hold(k Key, node string) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.own = ownLease{k, node, wake.New()}
	return v.own.written
}

func (v *View) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.own = ownLease{}
	v.lost.ownAtRisk(false, time.Now())
}

// ownAtRisk is called by the holder: while its lease is at risk, peers that expire are kept.
func (v *View) ownAtRisk(is bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost.ownAtRisk(is, time.Now())
}

// ownGone is called by the holder, who may know before the watch tells, and may have
// written the lease again by then.
func (v *View) ownGone() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wake(v.lost.ownGone(time.Now()))
}

// Leases returns all leases, sorted. The caller owns the slice.
func (v *View) Leases() []Lease {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost.expire(time.Now())
	all := append(make([]Lease, 0, len(v.leases)+len(v.lost.lost)), v.leases...)
	if len(v.lost.lost) > 0 {
		all = slices.AppendSeq(all, maps.Values(v.lost.lost))
		slices.SortFunc(all, Lease.Compare)
	}
	return all
}

// count returns how many leases there are, of hosts and kept.
func (v *View) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost.expire(time.Now())
	return len(v.leases) + len(v.lost.lost)
}

// Listed reports whether the leases are those of the store, and not only what was known
// of them before.
func (v *View) Listed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rev > 0
}

// at returns a lease that the store has, and the revision up to which the View
// speaks: it tells a key that is gone from one that has not arrived yet.
func (v *View) at(k Key) (Lease, Revision, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.leases.find(k)
	return l, v.rev, ok
}

// listings counts the snapshots that the View was given.
func (v *View) listings() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.resets
}

// find needs the lock, as do all unexported methods from here on.
func (v *View) find(k Key) (l Lease, ok bool) {
	if l, ok = v.leases.find(k); !ok {
		l, ok = v.lost.lost[k]
	}
	return l, ok
}

// Begin is a Reset by what was just acquired, after what this host knew before.
func (v *View) Begin(known []Lease, got Acquired) {
	v.Reset(Snapshot{Leases: known})
	if got.Created { // whether the store has lost our own among others is seen without it
		v.Reset(Snapshot{slices.DeleteFunc(slices.Clone(got.Seen.Leases), func(l Lease) bool { return l.Key() == got.Lease.Key() }), got.Seen.Rev})
	}
	v.Reset(got.Seen)
}

// Reset replaces the View by a snapshot, whatever its revision: that of a store
// which was wiped starts again from nothing. If the store has forgotten leases, what it
// lacks is kept (see [View.Lost]) until it is written again, something else is leased in
// its place, its host has another lease, or it expires. A snapshot without a revision is
// what this host knew before; what has none in it was kept.
func (v *View) Reset(s Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.lost.expire(now)
	before, kept := v.leases, maps.Clone(v.lost.lost)
	all := make([]Lease, 0, len(s.Leases))
	for _, l := range s.Leases {
		if s.Rev == 0 && l.Rev == 0 {
			v.lost.keep(l, now)
		} else {
			all = append(all, l)
		}
	}
	leases := newTable(all)
	gone := s.Rev < v.rev || forgotten(before, leases, s.Rev, v.own.key, now)
	v.lost.listed(before, leases, v.own.key, s.Rev > 0 && gone, now)
	changed := v.rev == 0 || len(kept) != len(v.lost.lost) || len(before) != len(leases)
	v.leases, v.rev = leases, s.Rev
	compare := func(l, now Lease, there bool) {
		if !there {
			v.free(l.Key())
			now, there = v.find(l.Key())
		}
		changed = changed || !there || !now.SameClaim(l)
	}
	before.walk(leases, compare)
	for k, l := range kept {
		now, there := leases.find(k)
		compare(l, now, there)
	}
	v.wake(changed)
	v.resets++
	v.own.written.Wake() // that the store has answered is news to who waits for it
}

// Apply carries one event out, unless the View has something newer. An event
// without a revision is always carried out.
func (v *View) Apply(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rev = max(v.rev, e.Lease.Rev)
	k := e.Lease.Key()
	if old, ok := v.leases.find(k); ok && e.Lease.Rev != 0 && e.Lease.Rev < old.Rev {
		return
	}
	if e.Deleted {
		v.wake(v.delete(k, e.Unclear))
	} else {
		old, ok := v.find(k)
		v.leases.put(e.Lease)
		kept := len(v.lost.lost)
		v.lost.leased(e.Lease)
		v.wake(!ok || !old.SameClaim(e.Lease) || kept != len(v.lost.lost))
	}
	if v.own.key == k || v.own.node != "" && v.own.node == e.Lease.Node {
		v.own.written.Wake()
	}
}

// delete removes a lease, unless it is kept, and reports whether anything is different
// now.
func (v *View) delete(k Key, unclear bool) bool {
	old, ok := v.find(k)
	v.leases.remove(k)
	now := time.Now()
	switch {
	case v.own.key == k:
		return v.lost.ownGone(now) || ok
	case !ok:
		return false
	}
	v.lost.peerGone(old, unclear, now)
	v.free(k)
	return true
}

// mostFreed is the number of leases that have gone and are remembered.
const mostFreed = 1024

// Freed returns the keys whose leases were seen to go and not to come again, though they
// may be kept, oldest first. The caller owns the slice.
func (v *View) Freed() []Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.freed), func(k Key) bool { _, there := v.leases.search(k); return there })
}

func (v *View) free(k Key) {
	v.freed = append(slices.DeleteFunc(v.freed, func(f Key) bool { return f == k }), k)
	if n := len(v.freed) - mostFreed; n > 0 {
		v.freed = slices.Delete(v.freed, 0, n)
	}
}

// Lost returns how many leases the store has lost and the View has kept.
func (v *View) Lost() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost.expire(time.Now())
	return len(v.lost.lost)
}

// wake tells all subscribers, if a claim has changed.
func (v *View) wake(changed bool) {
	if !changed {
		return
	}
	for _, c := range v.subs {
		c.Wake()
	}
}
