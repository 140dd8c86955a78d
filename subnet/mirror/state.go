package mirror

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"flanneld/subnet"
)

// state is what is known of both sides. It talks to nobody, and is told the time. Not safe
// for concurrent use.
type state struct {
	names  [2]string
	ttl    time.Duration
	spaces [2]map[subnet.Key]entry // nil: not listed yet
	listed [2]subnet.Revision      // of the last listing: what events say of earlier is known
	heard  [2]subnet.Revision      // the latest of which a listing or an event told
	gone   [2][]departure          // keys that went lately, whoever had written them
	notes  map[subnet.Key]*note
	writes uint64 // that were seen, on both sides
}

// entry is a lease as it was last seen.
type entry struct {
	subnet.Lease
	seen uint64 // which of all writes it was; 0: it was there before
}

// departure is a key that went without the mirror's doing.
type departure struct {
	key subnet.Key
	at  time.Time
}

// note is what is remembered of a key.
type note struct {
	pace
	due  time.Time // when the copy is to be refreshed
	ends time.Time // until when it lives at least; zero: not known, or for ever
	gone time.Time // when the original was seen to go; zero: it was not
	from int       // the side that it went from
	kept bool      // its side was wiped: the copy is left to expire
}

// pace keeps writes of one key apart: two hosts that both take a lease for theirs would
// have the mirror write without end. The first write after a while is for nothing.
type pace struct {
	last  time.Time
	pause time.Duration
}

const (
	paceLeast = 200 * time.Millisecond
	paceMost  = time.Minute
)

func (p *pace) wrote(now time.Time) {
	if p.pause = min(2*p.pause, paceMost); p.last.IsZero() || now.Sub(p.last) > 2*paceMost {
		p.pause = paceLeast
	}
	p.last = now
}

// together is the window within which keys that go have one cause.
const together = 2 * time.Second

func newState(from, to string, ttl time.Duration) *state {
	return &state{names: [2]string{from, to}, ttl: ttl, notes: make(map[subnet.Key]*note)}
}

// complete reports whether both sides were listed.
func (s *state) complete() bool { return s.spaces[0] != nil && s.spaces[1] != nil }

func (s *state) note(k subnet.Key) *note {
	n := s.notes[k]
	if n == nil {
		n = new(note)
		s.notes[k] = n
	}
	return n
}

// reset takes a listing.
func (s *state) reset(on int, leases []subnet.Lease, rev subnet.Revision, now time.Time) {
	before := s.spaces[on]
	space := make(map[subnet.Key]entry, len(leases))
	for _, l := range leases {
		e := entry{Lease: l}
		if old, ok := before[l.Key()]; ok && old.Same(l) {
			e.seen = old.seen
		} else if before != nil {
			e.seen = s.write(l)
		}
		space[l.Key()] = e
	}
	s.spaces[on] = space
	back := rev < s.heard[on]
	for k, old := range before {
		if _, there := space[k]; !there {
			s.vanished(on, old, now)
			s.note(k).kept = back
		}
	}
	s.listed[on], s.heard[on] = rev, rev
}

// apply takes an event.
func (s *state) apply(on int, e subnet.Event, now time.Time) {
	k, rev := e.Lease.Key(), e.Lease.Rev
	s.heard[on] = max(s.heard[on], rev)
	old, ok := s.spaces[on][k]
	switch {
	case rev <= s.listed[on], ok && rev < old.Rev:
	case ok && rev == old.Rev && !e.Deleted: // the mirror's own
	case !e.Deleted:
		s.spaces[on][k] = entry{e.Lease, s.write(e.Lease)}
	case ok:
		delete(s.spaces[on], k)
		s.vanished(on, old, now)
	}
}

// write counts what was written.
func (s *state) write(l subnet.Lease) uint64 {
	if n := s.notes[l.Key()]; n != nil && l.Mirror == "" {
		n.gone, n.kept = time.Time{}, false
	}
	s.writes++
	return s.writes
}

// vanished takes note that a key has gone. A copy whose original had gone before tells
// nothing about its side.
func (s *state) vanished(on int, old entry, now time.Time) {
	if other, ok := s.spaces[1-on][old.Key()]; old.Mirror != "" && (!ok || other.Mirror != "") {
		return
	}
	s.gone[on] = slices.DeleteFunc(s.gone[on], func(d departure) bool { return now.Sub(d.at) > 10*together })
	s.gone[on] = append(s.gone[on], departure{old.Key(), now})
	if old.Mirror == "" {
		n := s.note(old.Key())
		n.gone, n.from = now, on
	}
}

// wiped reports whether a side has lost keys at about a time which nobody gave up: more than
// one, and more than half of those that it had.
func (s *state) wiped(on int, at time.Time) bool {
	lost, all := 0, len(s.spaces[on])
	for _, d := range s.gone[on] {
		if d.at.Sub(at).Abs() > together {
			continue
		}
		lost++
		if _, back := s.spaces[on][d.key]; !back {
			all++
		}
	}
	return lost > 1 && 2*lost > all
}

// wrote takes note of a step that was carried out.
func (s *state) wrote(st step, l subnet.Lease, now time.Time) {
	k, space := st.key(), s.spaces[st.on]
	n := s.note(k)
	old, ok := space[k]
	if st.do == remove {
		if old.Rev <= st.was.Rev {
			delete(space, k)
		}
		return
	}
	if st.do != refresh {
		n.wrote(now)
	}
	n.due, n.ends = now.Add(s.every()-rand.N(s.every()/5+1)), time.Time{} // not all at once for ever
	if st.ttl > 0 {
		n.ends = now.Add(st.ttl)
	}
	// The watch may have told already of what was written after it.
	if ok && old.Rev <= l.Rev || !ok && l.Rev > s.heard[st.on] {
		space[k] = entry{l, st.seen}
	}
}

// refused takes note of a step that the store refused.
func (s *state) refused(st step, now time.Time) { s.note(st.key()).wrote(now) }

// keep leaves a copy to expire.
func (s *state) keep(k subnet.Key) { s.note(k).kept = true }

// every is the time between two refreshes of a copy: an hour of a day.
func (s *state) every() time.Duration { return s.ttl / 24 }

// sameHost reports whether leases are one host's, as hosts themselves decide it.
func sameHost(a, b subnet.Lease) bool {
	if a.Node != "" && b.Node != "" {
		return a.Node == b.Node
	}
	return a.V4.PublicIP == b.V4.PublicIP
}

// later reports whether a lease was written after another one. If that was not seen, a
// reservation is taken for the earlier one: it is an operator's, and may have been written
// at any time.
func later(a, b entry) bool {
	if a.seen != b.seen {
		return a.seen > b.seen
	}
	return a.Expires.After(b.Expires)
}

// hosts finds the latest original of a host on one side.
type hosts struct {
	nodes     map[string]entry
	addresses map[netip.Addr]entry
}

func (s *state) hosts(on int) hosts {
	h := hosts{make(map[string]entry), make(map[netip.Addr]entry)}
	for _, e := range s.spaces[on] {
		if e.Mirror != "" {
			continue
		}
		if was, ok := h.nodes[e.Node]; e.Node != "" && (!ok || later(e, was)) {
			h.nodes[e.Node] = e
		}
		if was, ok := h.addresses[e.V4.PublicIP]; !ok || later(e, was) {
			h.addresses[e.V4.PublicIP] = e
		}
	}
	return h
}

func (h hosts) of(l subnet.Lease) (entry, bool) {
	e, ok := h.nodes[l.Node]
	if !ok || l.Node == "" {
		e, ok = h.addresses[l.V4.PublicIP]
	}
	return e, ok && sameHost(e.Lease, l)
}

// askExpiries finds out when originals expire whose host has another one on the other side.
func (s *state) askExpiries(ctx context.Context, stores [2]Store) error {
	for on, store := range stores {
		x, ok := store.(expirer)
		if !ok {
			continue
		}
		other := s.hosts(1 - on)
		for k, e := range s.spaces[on] {
			if _, twice := other.of(e.Lease); !twice || e.Mirror != "" || e.Reserved() {
				continue
			}
			at, err := x.Expiry(ctx, e.Lease)
			if err != nil {
				return err
			}
			e.Expires = at
			s.spaces[on][k] = e
		}
	}
	return nil
}
