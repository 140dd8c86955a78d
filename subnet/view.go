package subnet

import (
	"slices"
	"sync"
	"time"
)

// Snapshot is all leases at one revision. A lease in it may be newer than that:
// events go on from the revision, and what they say of an older state is
// recognised by the lease's own one.
type Snapshot struct {
	Leases []Lease
	Rev    Revision
}

// View is the latest known state of all leases. It is safe for concurrent use.
type View struct {
	mu     sync.Mutex
	leases map[Key]Lease
	rev    Revision     // that the View is known to have reached
	lost   map[Key]bool // leases that the store has lost and that are kept for a while
	subs   []subscriber
	freed  []Key       // whose leases have gone, oldest first
	went   []departure // the last ones, not longer ago than together
	ownAt  time.Time   // when a lease that somebody holds here went, or was safe again
	unsure bool        // it cannot be renewed
}

type subscriber struct {
	c    chan struct{}
	own  Key    // zero: wants claims that changed; else any write of this key
	node string // and of any key by this node; empty: of none
}

// NewView returns an empty View.
func NewView() *View { return &View{leases: make(map[Key]Lease)} }

// Subscribe returns a channel of capacity one that holds a token if a claim
// came, went or changed since the last one was taken. A renewal changes none,
// so the fleet's daily renewals wake nobody.
func (v *View) Subscribe() <-chan struct{} { return v.subscribe(Key{}, "") }

// subscribe is for a lease's own host if the key is not zero: that must know of
// every write of the key, renewals included, and of what else its node writes.
func (v *View) subscribe(own Key, node string) <-chan struct{} {
	c := make(chan struct{}, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subs = append(v.subs, subscriber{c, own, node})
	return c
}

func (v *View) unsubscribe(c <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subs = slices.DeleteFunc(v.subs, func(s subscriber) bool { return s.c == c })
}

// Leases returns all leases, sorted. The caller owns the slice.
func (v *View) Leases() []Lease {
	v.mu.Lock()
	all := make([]Lease, 0, len(v.leases))
	for _, l := range v.leases {
		all = append(all, l)
	}
	v.mu.Unlock()
	slices.SortFunc(all, Lease.Compare)
	return all
}

func (v *View) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.leases)
}

// Get returns one lease.
func (v *View) Get(k Key) (Lease, bool) {
	l, _, ok := v.at(k)
	return l, ok
}

// at returns one lease and the revision up to which the View speaks, which
// tells a key that is gone from one that has not arrived yet.
func (v *View) at(k Key) (Lease, Revision, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.leases[k]
	return l, v.rev, ok
}

// Reset replaces the View by a snapshot, whatever its revision: that of a store
// which was wiped starts again from nothing. If a lease that somebody holds here
// has gone as well, or is there in a store that has gone back to an earlier revision,
// what the snapshot lacks is kept (see [View.Lost]) until it is written again, until
// something else is leased in its place, or until Forget.
func (v *View) Reset(s Snapshot) {
	leases := make(map[Key]Lease, len(s.Leases))
	for _, l := range s.Leases {
		leases[l.Key()] = l
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before, lost := v.leases, v.lost
	// From a backup, which does not know who came later.
	restored := s.Rev < v.rev && slices.ContainsFunc(v.subs, func(s subscriber) bool { return s.own != Key{} })
	v.leases, v.rev, v.lost = leases, s.Rev, nil
	if restored || v.forgotten(before) {
		v.keep(before, func(Key) bool { return true })
	} else {
		v.keep(before, func(k Key) bool { return lost[k] })
	}
	for k := range before {
		if _, there := leases[k]; !there {
			v.free(k)
		}
	}
	changed := len(leases) != len(before)
	for k, l := range leases {
		old, ok := before[k]
		changed = changed || !ok || !old.SameClaim(l)
	}
	v.signal(changed, func(subscriber) bool { return true }) // that the store has answered is news to who waits for it
}

// forgotten reports whether a subscriber's own lease has gone with the others: the
// store was wiped, or its subnets were removed as a whole. The host itself is
// there, so the others can be too.
func (v *View) forgotten(before map[Key]Lease) bool {
	return slices.ContainsFunc(v.subs, func(s subscriber) bool {
		_, was := before[s.own]
		_, is := v.leases[s.own]
		return was && !is
	})
}

// keep goes on with those of the leases before that are lost, no subscriber's own,
// and that nothing new overlaps. Whatever is written of them is newer.
func (v *View) keep(before map[Key]Lease, lost func(Key) bool) {
	for k, l := range before {
		own := slices.ContainsFunc(v.subs, func(s subscriber) bool { return s.own == k })
		if _, there := v.leases[k]; there || own || !lost(k) {
			continue
		}
		if v.lost == nil {
			v.lost = make(map[Key]bool)
		}
		v.lost[k] = true
		l.Rev = 0
		v.leases[k] = l
	}
	if len(v.lost) == 0 {
		return
	}
	for k := range v.leases {
		if !v.lost[k] {
			v.yield(k)
		}
	}
}

// yield gives up the lost leases that overlap k.
func (v *View) yield(k Key) {
	for l := range v.lost {
		if l != k && l.Overlaps(k) {
			delete(v.lost, l)
			delete(v.leases, l)
		}
	}
}

// together is how far apart leases go that a store loses for one reason: those that
// expired while it was away go in its first seconds, one by one.
const together = 2 * time.Second

type departure struct {
	lease Lease
	at    time.Time
}

// depart removes a lease that has gone from the store, unless one that is held here
// goes at about the same time: then the store has lost it, and what went before it
// comes back. Nor does it while that one cannot be renewed, as then others can no more.
// It reports whether anything is different now.
func (v *View) depart(k Key, l Lease, ok bool) bool {
	now := time.Now()
	own := slices.ContainsFunc(v.subs, func(s subscriber) bool { return s.own == k })
	v.went = slices.DeleteFunc(v.went, func(d departure) bool { return now.Sub(d.at) > together })
	away := v.unsure || !v.ownAt.IsZero() && now.Sub(v.ownAt) <= together
	switch {
	case own:
		delete(v.leases, k)
		return v.bringBack(now) || ok
	case !ok:
		return false
	case away: // a listing may have told so before the watch does
		l.Rev = 0 // whatever is written of it is newer
		v.leases[k] = l
		if v.lost == nil {
			v.lost = make(map[Key]bool)
		}
		v.lost[k] = true
		return false
	case v.lost[k]: // it was deleted before it was written again
		delete(v.lost, k)
	}
	v.went = append(v.went, departure{l, now})
	delete(v.leases, k)
	v.free(k)
	return true
}

// doubt says whether a lease that is held here cannot be renewed.
func (v *View) doubt(unsure bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.unsure && !unsure {
		v.ownAt = time.Now() // others follow
	}
	v.unsure = unsure
}

// departed says that a lease that is held here has gone from the store. Who holds it may
// know before the watch tells, and may have written it again by then.
func (v *View) departed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.went = slices.DeleteFunc(v.went, func(d departure) bool { return now.Sub(d.at) > together })
	v.signal(v.bringBack(now), func(subscriber) bool { return false })
}

// bringBack keeps what went just before a lease that is held here, as what goes just
// after it will be. It reports whether there was any.
func (v *View) bringBack(now time.Time) bool {
	v.ownAt = now
	before := make(map[Key]Lease, len(v.went))
	for _, d := range v.went {
		before[d.lease.Key()] = d.lease
	}
	v.went = nil
	v.keep(before, func(Key) bool { return true })
	return len(before) > 0
}

// mostFreed bounds what is remembered of leases that have gone.
const mostFreed = 1024

// Freed returns the keys whose leases were seen to go and not to come again,
// oldest first. The caller owns the slice.
func (v *View) Freed() []Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.freed), func(k Key) bool { _, there := v.leases[k]; return there })
}

// free remembers that a lease has gone.
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
	return len(v.lost)
}

// Forget removes the leases that Lost counts.
func (v *View) Forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k := range v.lost {
		delete(v.leases, k)
	}
	changed := len(v.lost) > 0
	v.lost = nil
	v.signal(changed, func(subscriber) bool { return false })
}

// Apply carries one event out, unless the View has something newer. An event
// without a revision is always carried out.
func (v *View) Apply(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rev = max(v.rev, e.Lease.Rev)
	k := e.Lease.Key()
	old, ok := v.leases[k]
	changed := false
	switch {
	case ok && e.Lease.Rev != 0 && e.Lease.Rev < old.Rev:
		return
	case e.Deleted:
		changed = v.depart(k, old, ok)
	default:
		v.leases[k] = e.Lease
		changed = !ok || !old.SameClaim(e.Lease)
		v.yield(k)
	}
	if !e.Deleted {
		delete(v.lost, k)
	}
	v.signal(changed, func(s subscriber) bool { return s.own == k || s.node != "" && s.node == e.Lease.Node })
}

// signal needs the lock.
func (v *View) signal(changed bool, written func(subscriber) bool) {
	for _, s := range v.subs {
		if s.own == (Key{}) && !changed || s.own != (Key{}) && !written(s) {
			continue
		}
		select {
		case s.c <- struct{}{}:
		default:
		}
	}
}
