package subnet

import (
	"slices"
	"sync"
)

// Snapshot is all leases at one revision.
type Snapshot struct {
	Leases []Lease
	Rev    Revision
}

// View is the latest known state of all leases. It is safe for concurrent use.
type View struct {
	mu     sync.Mutex
	leases map[Key]Lease
	subs   []chan struct{}
}

// NewView returns an empty View.
func NewView() *View { return &View{leases: make(map[Key]Lease)} }

// Subscribe returns a channel of capacity one that gets a token whenever a
// claim changed. A renewal changes none.
func (v *View) Subscribe() <-chan struct{} {
	c := make(chan struct{}, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subs = append(v.subs, c)
	return c
}

// Leases returns all leases, sorted.
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

// Get returns one lease.
func (v *View) Get(k Key) (Lease, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.leases[k]
	return l, ok
}

// Reset replaces the View by a snapshot.
func (v *View) Reset(s Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := len(s.Leases) != len(v.leases)
	leases := make(map[Key]Lease, len(s.Leases))
	for _, l := range s.Leases {
		old, ok := v.leases[l.Key()]
		changed = changed || !ok || !old.SameClaim(l)
		leases[l.Key()] = l
	}
	v.leases = leases
	v.signal(changed)
}

// Apply carries one event out.
func (v *View) Apply(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := e.Lease.Key()
	old, ok := v.leases[k]
	switch {
	case e.Deleted:
		delete(v.leases, k)
		v.signal(ok)
	case !ok || e.Lease.Rev >= old.Rev:
		v.leases[k] = e.Lease
		v.signal(!ok || !old.SameClaim(e.Lease))
	}
}

func (v *View) signal(changed bool) {
	if !changed {
		return
	}
	for _, c := range v.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
