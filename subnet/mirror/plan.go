package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// step is one write.
type step struct {
	do     verb
	on     int           // the side that is written
	was    subnet.Lease  // what is there; zero if do is create
	seen   uint64        // which write that was
	lease  subnet.Lease  // to write; zero if do is remove
	ttl    time.Duration // zero: never
	turned bool          // was is an original that becomes a copy
}

type verb int

const (
	create  verb = iota + 1
	write        // over was
	refresh      // the same, with more time
	remove
)

func (s step) key() subnet.Key {
	if s.do == remove {
		return s.was.Key()
	}
	return s.lease.Key()
}

// errWiped: the side of the original has no configuration any more.
var errWiped = errors.New("the other side was wiped")

// carry carries the step out in the store of its side. Before it removes a copy it looks
// whether the other side's configuration is still there.
func (s step) carry(ctx context.Context, store, other Store) (subnet.Lease, error) {
	switch s.do {
	case create:
		return store.Create(ctx, s.lease, s.ttl)
	case write:
		return store.Renew(ctx, s.was, s.lease, s.ttl)
	case refresh:
		l, _, err := store.Refresh(ctx, s.was, s.ttl)
		return l, err
	}
	_, err := other.Config(ctx)
	switch {
	case errors.Is(err, config.ErrNone):
		return subnet.Lease{}, errWiped
	case err != nil:
		return subnet.Lease{}, err
	}
	return subnet.Lease{}, store.Delete(ctx, s.was)
}

// Problem is what the mirror leaves to the operator.
type Problem struct {
	Subnet   string `json:"subnet,omitempty"` // empty: it is about the configuration
	Conflict bool   `json:"conflict"`         // two hosts have leases that exclude each other; false: a lease is not copied for another reason
	Why      string `json:"why"`
	Hint     string `json:"hint,omitempty"`
}

// planner is one look at the state.
type planner struct {
	*state
	hosts    [2]hosts
	now      time.Time
	next     time.Time // when there may be more to do; zero: when something changes
	steps    []step
	problems []Problem
}

// plan returns what is to be done now, when to look again if nothing changes (zero: never),
// and what is wrong.
func plan(s *state, now time.Time) ([]step, time.Time, []Problem) {
	p := planner{state: s, hosts: [2]hosts{s.hosts(0), s.hosts(1)}, now: now}
	keys := slices.Collect(maps.Keys(s.spaces[0]))
	for k := range s.spaces[1] {
		if _, ok := s.spaces[0][k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, subnet.Key.Compare)
	for _, k := range keys {
		p.key(k)
	}
	maps.DeleteFunc(s.notes, func(k subnet.Key, n *note) bool {
		_, a := s.spaces[0][k]
		_, b := s.spaces[1][k]
		return !a && !b && now.Sub(n.last) > 2*paceMost && now.Sub(n.gone) > 2*together
	})
	return p.steps, p.next, p.problems
}

// key decides what is to be done about a key.
func (p *planner) key(k subnet.Key) {
	a, onA := p.spaces[0][k]
	b, onB := p.spaces[1][k]
	originalA, originalB := onA && a.Mirror == "", onB && b.Mirror == ""
	switch {
	case originalA && originalB:
		p.both(a, b)
	case originalA:
		p.copy(0, a)
	case originalB:
		p.copy(1, b)
	case onA && onB:
		// Nobody has the original: both expire.
	case onA:
		p.orphan(0, a)
	default:
		p.orphan(1, b)
	}
}

// both decides about two originals.
func (p *planner) both(a, b entry) {
	if !sameHost(a.Lease, b.Lease) {
		p.conflict(a.Key(), fmt.Sprintf("%s is leased to %s on %s and to %s on %s", a.Key(), Who(a.Lease), p.names[0], Who(b.Lease), p.names[1]),
			"stop the daemon of one of them, delete its lease and start it again: it takes another subnet")
		return
	}
	if a.Reserved() != b.Reserved() && a.Same(b.Lease) {
		return // an operator has reserved what the host holds on the other side
	}
	host, former, from := b, a, 1
	if later(a, b) {
		host, former, from = a, b, 0
	}
	s := step{do: write, on: 1 - from, was: former.Lease, seen: former.seen, lease: p.copyOf(host.Lease, from), ttl: p.life(host.Lease), turned: true}
	if former.Reserved() && !host.Reserved() { // likewise: it says what the host says, and stays what it is
		s.lease.Mirror, s.ttl, s.turned = "", 0, false
	}
	p.paced(s)
}

// copy decides about the copy of an original on a side.
func (p *planner) copy(from int, original entry) {
	k, to := original.Key(), 1-from
	if h, ok := p.hosts[to].of(original.Lease); ok && h.Key() != k && !original.Reserved() && later(h, original) {
		p.problems = append(p.problems, Problem{Subnet: k.String(), Hint: "nothing is to be done if that host is well: its former lease expires",
			Why: fmt.Sprintf("%s has %s on %s now; its former lease %s on %s is not copied", Who(h.Lease), h.Key(), p.names[to], k, p.names[from])})
		return
	}
	s := step{do: create, on: to, lease: p.copyOf(original.Lease, from), ttl: p.life(original.Lease)}
	c, there := p.spaces[to][k]
	if there {
		s.do, s.was = write, c.Lease
	} else if e, ok := p.overlap(to, k); ok {
		p.conflict(k, fmt.Sprintf("%s is leased to %s on %s, and %s, which overlaps it, to %s on %s",
			k, Who(original.Lease), p.names[from], e.Key(), Who(e.Lease), p.names[to]), "stop the daemon of one of them, delete its lease and start it again: it takes another subnet")
		return
	}
	switch n := p.note(k); {
	case !there || !c.Same(s.lease) || c.Reserved() != original.Reserved():
		p.paced(s)
	case original.Reserved():
	case p.now.Before(n.due):
		p.next = earlier(p.next, n.due)
	default:
		s.do = refresh
		n.due = p.now.Add(p.every() / 10) // if it fails
		p.next = earlier(p.next, n.due)
		p.steps = append(p.steps, s)
	}
}

// overlap returns an original on a side that shares addresses with a key.
func (p *planner) overlap(on int, k subnet.Key) (entry, bool) {
	for other, e := range p.spaces[on] {
		if e.Mirror == "" && other.Overlaps(k) {
			return e, true
		}
	}
	return entry{}, false
}

// orphan decides about a copy without an original.
func (p *planner) orphan(on int, c entry) {
	n := p.note(c.Key())
	switch ripe := n.gone.Add(together); {
	case n.gone.IsZero() || n.from == on || n.kept:
	case p.now.Before(ripe):
		p.next = earlier(p.next, ripe)
	case p.wiped(n.from, n.gone):
		n.kept = true
	default:
		p.steps = append(p.steps, step{do: remove, on: on, was: c.Lease})
	}
}

// paced adds a step, unless the key was written a moment ago.
func (p *planner) paced(s step) {
	n := p.note(s.key())
	if at := n.last.Add(n.pause); !n.last.IsZero() && p.now.Before(at) {
		p.next = earlier(p.next, at)
		return
	}
	p.steps = append(p.steps, s)
}

// copyOf returns the copy of an original that lies on a side.
func (p *planner) copyOf(l subnet.Lease, from int) subnet.Lease {
	l.Mirror, l.Contest = p.names[from], ""
	return l
}

// life returns how long the copy of an original lives.
func (p *planner) life(original subnet.Lease) time.Duration {
	if original.Reserved() {
		return 0
	}
	return p.ttl
}

func (p *planner) conflict(k subnet.Key, why, hint string) {
	p.problems = append(p.problems, Problem{Subnet: k.String(), Conflict: true, Why: why, Hint: hint})
}

// Who names a lease's host.
func Who(l subnet.Lease) string {
	if l.Node == "" {
		return l.V4.PublicIP.String()
	}
	return fmt.Sprintf("%s (node %s)", l.V4.PublicIP, l.Node)
}
