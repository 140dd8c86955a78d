package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"flanneld/subnet"
)

// LeastTTL is the least time that a copy gets. Releases 0.18 to 0.28.9 write a lease of
// their own at once if less than an hour is left of it.
const LeastTTL = 2 * time.Hour

// Plan is what is to be copied from one side to another, once.
type Plan struct {
	Config   bool      // the configuration
	Items    []Item    // the leases, sorted
	Problems []Problem // why nothing is copied; empty: it can be

	from, to  Side
	documents documents
}

// Item is one lease.
type Item struct {
	Lease subnet.Lease  // the copy
	TTL   time.Duration // zero: it is a reservation
	Do    string        // Copy, Update or Keep
	To    string        // the side's name

	step step
}

// What is done about an item.
const (
	Copy   = "copy"
	Update = "update" // there is a copy, which says something else
	Keep   = "keep"   // it is there already
)

// Survey reads both sides and says what Carry would do; both: what a Mirror would do first.
// It writes nothing.
func Survey(ctx context.Context, from, to Side, both bool) (Plan, error) {
	p := Plan{from: from, to: to}
	var err error
	if p.documents, err = compareConfigs(ctx, from, to); err != nil {
		return p, err
	}
	p.Config = p.documents.missing()
	st := newState(from.Name, to.Name, subnet.DefaultTTL)
	now := time.Now()
	for i, s := range []Side{from, to} {
		leases, rev, err := s.Store.Leases(ctx)
		if err != nil {
			return p, fmt.Errorf("list the leases of %s: %w", s.Name, err)
		}
		st.reset(i, leases, rev, now)
	}
	if err := st.askExpiries(ctx, [2]Store{from.Store, to.Store}); err != nil {
		return p, err
	}
	steps, _, problems := plan(st, now)
	p.Problems = problems
	done := make(map[subnet.Key]bool)
	for _, s := range steps {
		overCopy := s.do == write && s.was.Mirror != ""
		if s.on != 1 && !both || s.do != create && !overCopy {
			continue
		}
		item := Item{Lease: s.lease, Do: Copy, To: st.names[s.on], TTL: s.ttl, step: s}
		if s.do == write {
			item.Do = Update
		}
		if !both {
			if item.TTL, err = remaining(ctx, from.Store, st.spaces[0][s.key()].Lease, now); err != nil {
				return p, err
			}
			item.step.ttl = item.TTL
		}
		p.Items = append(p.Items, item)
		done[s.key()] = true
	}
	p.keep(st, done)
	return p, nil
}

// keep adds what is on the other side already, and sorts.
func (p *Plan) keep(st *state, done map[subnet.Key]bool) {
	wrong := make(map[string]bool)
	for _, problem := range p.Problems {
		wrong[problem.Subnet] = true
	}
	for k, l := range st.spaces[0] {
		if l.Mirror == "" && !done[k] && !wrong[k.String()] {
			p.Items = append(p.Items, Item{Lease: l.Lease, Do: Keep, To: st.names[1]})
		}
	}
	slices.SortFunc(p.Items, func(a, b Item) int { return a.Lease.Compare(b.Lease) })
}

// Conflicts returns the problems for which Carry would refuse to do anything.
func (p Plan) Conflicts() []Problem {
	return slices.DeleteFunc(slices.Clone(p.Problems), func(q Problem) bool { return !q.Conflict })
}

// remaining returns the life of a copy that is made now: what is left of the original, and
// LeastTTL at least.
func remaining(ctx context.Context, store Store, l subnet.Lease, now time.Time) (time.Duration, error) {
	if l.Reserved() {
		return 0, nil
	}
	if x, ok := store.(expirer); ok {
		var err error
		if l.Expires, err = x.Expiry(ctx, l); err != nil {
			return 0, fmt.Errorf("ask how long %s lives: %w", l.Key(), err)
		}
	}
	return max(l.Expires.Sub(now).Truncate(time.Second), LeastTTL), nil
}

// Carry does what the plan says. It returns how many leases it has written. What another
// host has leased meanwhile is a conflict, and added to the problems. After an error it can
// be done again, from a new plan: that has what is still to be done.
func (p *Plan) Carry(ctx context.Context) (written int, err error) {
	if err := p.documents.carry(ctx, p.from, p.to); err != nil {
		return 0, err
	}
	for _, i := range p.Items {
		if i.Do == Keep {
			continue
		}
		_, err := i.step.carry(ctx, p.to.Store, p.from.Store)
		switch {
		case errors.Is(err, subnet.ErrTaken), errors.Is(err, subnet.ErrLost):
			p.Problems = append(p.Problems, Problem{Subnet: i.Lease.Key().String(), Conflict: true,
				Why: fmt.Sprintf("%s was leased on %s meanwhile", i.Lease.Key(), p.to.Name), Hint: "run it again: it says by whom"})
		case err != nil:
			return written, fmt.Errorf("copy the lease %s of %s: %w", i.Lease.Key(), Who(i.Lease), err)
		default:
			written++
		}
	}
	return written, nil
}
