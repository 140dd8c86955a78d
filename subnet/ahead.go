package subnet

import (
	"context"
	"sync"
	"time"
)

// ListAhead returns the store, asked already for the leases that its first
// Leases will return: at a start, listing thousands of them takes as long as
// everything that has to be found out before one can be chosen. A listing that
// failed, or that is not wanted within a second, is thrown away and taken anew.
// It may be older than the call to Leases, as any listing is when it arrives:
// writes are conditional, and a watch goes on from its revision.
func ListAhead(ctx context.Context, store Store) *Ahead {
	a := &Ahead{Store: store, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if a.leases, a.rev, a.err = store.Leases(ctx); a.err != nil {
			a.leases = nil
		}
		a.at = time.Now()
	}()
	return a
}

// aheadLife is how long a listing may lie before it is wanted.
const aheadLife = time.Second

// Ahead is what ListAhead returns.
type Ahead struct {
	Store
	done   chan struct{} // closed when the rest is set
	leases []Lease       // nil: there is no listing, or it has been handed out
	rev    Revision
	err    error
	at     time.Time
	once   sync.Once
}

// Wait waits until the listing is there, for Leases to return, and returns its
// error or the context's.
func (a *Ahead) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-a.done:
	}
	select {
	case <-a.done: // even if the context is done as well
		return a.err
	default:
		return context.Cause(ctx)
	}
}

// Leases implements Store.
func (a *Ahead) Leases(ctx context.Context) ([]Lease, Revision, error) {
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-a.done:
	}
	var leases []Lease
	a.once.Do(func() { leases, a.leases = a.leases, nil })
	if leases != nil && time.Since(a.at) < aheadLife {
		return leases, a.rev, nil
	}
	return a.Store.Leases(ctx)
}
