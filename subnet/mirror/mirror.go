package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Store is a side's store.
type Store interface {
	subnet.Store

	// WriteConfig writes the configuration if that is still the document was, or if there
	// is still none and was has no content. Else it returns subnet.ErrLost.
	WriteConfig(ctx context.Context, was config.Document, raw []byte) error
}

// expirer is a Store whose listing does not say when leases expire, only when at the
// latest.
type expirer interface {
	Expiry(ctx context.Context, l subnet.Lease) (time.Time, error)
}

// Side is one of the two keyspaces.
type Side struct {
	Name  string // for messages and marks, such as "v2"; letters, digits and hyphens
	Store Store
}

// Options say what to mirror.
type Options struct {
	From, To Side          // From has the configuration that counts
	TTL      time.Duration // of copies; zero: subnet.DefaultTTL
	Log      *slog.Logger
}

// Mirror keeps two keyspaces in step. Use New.
type Mirror struct {
	opts  Options
	sides [2]*side
	wake  wake.Chan

	mu       sync.Mutex
	state    *state
	done     Counts
	problems []Problem
	asked    bool // whether what lives longer was found out

	document *documentFollower
	said     map[string]bool // problems, by their text; of the loop alone
}

// Counts are what a mirror has done.
type Counts struct {
	Created int `json:"created"` // copies
	Updated int `json:"updated"` // copies, after their original had changed
	Moved   int `json:"moved"`   // originals that became copies, since their host had moved
	Removed int `json:"removed"` // copies, after their original had gone
}

// New returns a Mirror that has not begun.
func New(o Options) *Mirror {
	o.TTL = cmp.Or(o.TTL, subnet.DefaultTTL)
	m := &Mirror{opts: o, wake: wake.New(), state: newState(o.From.Name, o.To.Name, o.TTL), said: make(map[string]bool),
		document: &documentFollower{from: o.From, to: o.To, log: o.Log}}
	for i, s := range []Side{o.From, o.To} {
		m.sides[i] = &side{Side: s}
	}
	return m
}

// Run keeps both sides in step until ctx is done. It begins with the configuration: if
// there is none on the side From, or another one on the other side, that is an error. No
// outage of a store ends it.
func (m *Mirror) Run(ctx context.Context) error {
	c, err := compareConfigs(ctx, m.opts.From, m.opts.To)
	if err == nil {
		err = c.carry(ctx, m.opts.From, m.opts.To)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for s := range m.sides {
		followers.Go(func() { m.follow(ctx, s) })
	}
	m.document.last = c.from.Raw
	followers.Go(func() { m.document.run(ctx) })
	for ctx.Err() == nil {
		next := m.look(ctx)
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-time.After(next):
		}
	}
	return nil
}

// idle is the longest time between two looks.
const idle = time.Minute

// look does once what there is to do, and returns when to look again.
func (m *Mirror) look(ctx context.Context) time.Duration {
	steps, next, problems, err := m.plan(ctx)
	if err != nil {
		return time.Second // who reads that side says why
	}
	m.say(problems)
	before := m.Done()
	for _, s := range steps {
		if ctx.Err() != nil {
			return 0
		}
		if at := m.sides[s.on].until; time.Now().Before(at) {
			next = earlier(next, at)
			continue
		}
		if at := m.do(ctx, s); !at.IsZero() {
			next = earlier(next, at)
		}
	}
	if done := m.Done(); done != before {
		m.opts.Log.Info("In step", "copies made", done.Created-before.Created, "updated", done.Updated-before.Updated,
			"hosts moved", done.Moved-before.Moved, "removed", done.Removed-before.Removed)
	}
	if next.IsZero() {
		return idle
	}
	return min(max(time.Until(next), 0), idle)
}

// plan is the state's plan. Before the first one it asks, when both sides have been listed,
// how long those leases live of which the later one has to be found.
func (m *Mirror) plan(ctx context.Context) ([]step, time.Time, []Problem, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.state.complete() {
		return nil, time.Time{}, nil, nil
	}
	if !m.asked {
		if err := m.state.askExpiries(ctx, [2]Store{m.sides[0].Store, m.sides[1].Store}); err != nil {
			return nil, time.Time{}, nil, err
		}
		m.asked = true
	}
	steps, next, problems := plan(m.state, time.Now())
	m.problems = problems
	return steps, next, problems, nil
}

// do carries a step out. It returns when to look again if it could not.
func (m *Mirror) do(ctx context.Context, s step) (again time.Time) {
	side := m.sides[s.on]
	l, err := s.carry(ctx, side.Store, m.sides[1-s.on].Store)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		side.retry.Reset()
		_ = side.away.Changed("")
		m.done.add(s)
		m.state.wrote(s, l, now)
		m.tell(s)
		return time.Time{}
	case errors.Is(err, errWiped):
		m.state.keep(s.key())
	case errors.Is(err, subnet.ErrTaken), errors.Is(err, subnet.ErrLost):
		// It is not what it was when the side was listed, or written quietly since.
		m.state.refused(s, now)
		side.listAgain()
	case ctx.Err() == nil:
		side.until = now.Add(side.retry.Next())
		if side.away.Changed("write") {
			m.opts.Log.Error(fmt.Sprintf("Cannot write to %s; trying again: %v", side.Name, err))
		}
		return side.until
	}
	return time.Time{}
}

// tell logs what is rare. The caller holds the lock.
func (m *Mirror) tell(s step) {
	log, on, other := m.opts.Log, m.sides[s.on].Name, m.sides[1-s.on].Name
	switch {
	case s.turned:
		log.Info(fmt.Sprintf("The host of %s is on %s now; what %s has is a copy", s.key(), other, on), "host", Who(s.lease))
	case s.do == remove:
		log.Info(fmt.Sprintf("The lease %s has gone from %s; its copy on %s is removed", s.key(), other, on), "host", Who(s.was))
	}
}

// say logs each problem when it begins, and when it is over.
func (m *Mirror) say(problems []Problem) {
	now := make(map[string]bool)
	for _, p := range problems {
		now[p.Why] = true
		if !m.said[p.Why] {
			m.opts.Log.Warn(p.Why, "hint", p.Hint)
		}
	}
	for why := range m.said {
		if !now[why] {
			m.opts.Log.Info("No longer: " + why)
		}
	}
	m.said = now
}

// Report returns what stands where now. It can be called at any time.
func (m *Mirror) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Report{Done: m.done, Problems: slices.Clone(m.problems)}
	if p := m.document.get(); p.Why != "" {
		r.Problems = append(r.Problems, p)
	}
	for on := range m.sides {
		r.Sides = append(r.Sides, standing(m.state, on))
	}
	return r
}

// Done returns what was done so far.
func (m *Mirror) Done() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done
}

func (c *Counts) add(s step) {
	switch {
	case s.do == create:
		c.Created++
	case s.turned:
		c.Moved++
	case s.do == write:
		c.Updated++
	case s.do == remove:
		c.Removed++
	}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
