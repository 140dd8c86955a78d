package etcdsrv

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Inner is a store at certain endpoints. It may have a method Close.
type Inner interface {
	subnet.Store
	Moved()
	Tried() []netip.Addr
}

// Store is a store at the endpoints that a Finder finds. When they do not answer and others
// are found, it is made anew there.
type Store struct {
	finder *Finder
	open   func(endpoints []string) (Inner, error)

	mu      sync.Mutex
	inner   Inner // nil: nothing was found yet
	at      []string
	failing bool // the last call has failed
	closed  bool
}

var _ Inner = (*Store)(nil)

// New returns a Store that open makes at endpoints. It looks nothing up yet.
func New(f *Finder, open func(endpoints []string) (Inner, error)) *Store {
	return &Store{finder: f, open: open}
}

var errClosed = errors.New("the store is closed")

// current returns the store at the endpoints of now.
func (s *Store) current(ctx context.Context) (Inner, error) {
	s.mu.Lock()
	failing := s.failing
	s.mu.Unlock()
	at, err := s.finder.Endpoints(ctx, failing) // may take a while
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.inner == nil || !slices.Equal(at, s.at) {
		inner, err := s.open(at)
		if err != nil {
			return nil, err
		}
		s.end()
		s.inner, s.at = inner, at
	}
	return s.inner, nil
}

// end closes the store of before. The caller has the lock.
func (s *Store) end() {
	if open, ok := s.inner.(interface{ Close() }); ok {
		open.Close()
	}
	s.inner = nil
}

// note takes note whether a call has failed, so that the next one looks the endpoints up.
// What etcd says of a key is no failure, nor is that the caller wants no answer any more.
func (s *Store) note(ctx context.Context, err error) {
	answered := err == nil
	for _, said := range []error{config.ErrNone, subnet.ErrTaken, subnet.ErrLost, subnet.ErrCompacted} {
		answered = answered || errors.Is(err, said)
	}
	if !answered && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = !answered
}

// Close ends all connections, for good.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.end()
}

// Moved is called when the host has lost an address.
func (s *Store) Moved() {
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	if inner != nil {
		inner.Moved()
	}
}

// Tried returns the addresses that etcd was looked for at lately.
func (s *Store) Tried() []netip.Addr {
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Tried()
}

// call makes one call to the store of now.
func call[T any](ctx context.Context, s *Store, f func(Inner) (T, error)) (result T, err error) {
	inner, err := s.current(ctx)
	if err != nil {
		return result, err
	}
	result, err = f(inner)
	s.note(ctx, err)
	return result, err
}

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (config.Document, error) {
	return call(ctx, s, func(i Inner) (config.Document, error) { return i.Config(ctx) })
}

// AwaitConfig implements subnet.Store.
func (s *Store) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	return call(ctx, s, func(i Inner) (config.Document, error) { return i.AwaitConfig(ctx, after) })
}

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	r, err := call(ctx, s, func(i Inner) (r subnet.Snapshot, err error) {
		r.Leases, r.Rev, err = i.Leases(ctx)
		return r, err
	})
	return r.Leases, r.Rev, err
}

// Watch implements subnet.Store.
func (s *Store) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		inner, err := s.current(ctx)
		if err != nil {
			yield(subnet.Event{}, err)
			return
		}
		for e, err := range inner.Watch(ctx, after) {
			s.note(ctx, err)
			if !yield(e, err) {
				return
			}
		}
	}
}

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return call(ctx, s, func(i Inner) (subnet.Lease, error) { return i.Create(ctx, l, ttl) })
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return call(ctx, s, func(i Inner) (subnet.Lease, error) { return i.Renew(ctx, was, l, ttl) })
}

// Refresh implements subnet.Store.
func (s *Store) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (refreshed subnet.Lease, quiet bool, err error) {
	refreshed, err = call(ctx, s, func(i Inner) (r subnet.Lease, err error) {
		r, quiet, err = i.Refresh(ctx, l, ttl)
		return r, err
	})
	return refreshed, quiet, err
}

// Delete implements subnet.Store.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	_, err := call(ctx, s, func(i Inner) (struct{}, error) { return struct{}{}, i.Delete(ctx, l) })
	return err
}
