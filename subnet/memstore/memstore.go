// Package memstore is a subnet.Store in the process's memory, for tests and
// demonstrations. It decides nothing that etcd would not: revisions, expiry and
// a history that ends are as there. It keeps time by the time package, and so
// works in a testing/synctest bubble.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

// historyLen is how many events are kept, those of all keys together, as in
// etcd's v2 store.
const historyLen = 1000

// Store implements subnet.Store. Use New. Safe for concurrent use.
type Store struct {
	// Fail, if set, is asked before each call of a method of subnet.Store, by
	// its name, and before each wait of Watch and AwaitConfig. An error is
	// returned in the call's place. Set it before the store is used.
	Fail func(op string) error
	// Log is told once of each key that is no lease; nil: nobody is. Set it
	// before the store is used.
	Log *slog.Logger

	mu      sync.Mutex
	rev     subnet.Revision
	config  entry // at revision zero there is none
	keys    map[string]entry
	history []change // one per revision, the last at rev
	changed chan struct{}
	junk    map[string]string // value by key of what was logged
}

var _ subnet.Store = (*Store)(nil)

// entry is a key's content.
type entry struct {
	value   string
	rev     subnet.Revision
	expires time.Time // zero: never
}

// change is one event. Its key is empty if it is of no lease: of the
// configuration, or of somebody else's keys.
type change struct {
	key     string
	entry   entry
	deleted bool
	dir     bool // all keys went
	config  bool // it was the configuration
}

// New returns an empty store.
func New() *Store {
	return &Store{rev: 1, keys: make(map[string]entry), changed: make(chan struct{}), junk: make(map[string]string)}
}

// begin is how every method starts. The caller holds no lock.
func (s *Store) begin(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Fail != nil {
		return s.Fail(op)
	}
	return nil
}

// put writes a key and sees to its expiry. The event is of a key of its own, or of
// nobody's if that is empty. The caller holds the lock.
func (s *Store) put(key, event, value string, ttl time.Duration) entry {
	e := entry{value: value}
	ttl = subnet.Seconds(ttl)
	if ttl > 0 {
		e.expires = time.Now().Add(ttl)
	}
	e = s.record(change{key: event, entry: e})
	s.keys[key] = e
	if ttl > 0 {
		time.AfterFunc(ttl, func() { s.expire(key, e.rev) })
	}
	return e
}

func (s *Store) expire(key string, rev subnet.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key].rev == rev {
		s.remove(key)
	}
}

// remove deletes a key, if it is there. The caller holds the lock.
func (s *Store) remove(key string) {
	if _, ok := s.keys[key]; ok {
		delete(s.keys, key)
		s.record(change{key: key, deleted: true})
	}
}

// lease reads an entry; what is no lease is logged once per content. The caller
// holds the lock.
func (s *Store) lease(key string, e entry) (subnet.Lease, bool) {
	l, err := wire.Decode(key, e.value)
	if err != nil {
		if was, ok := s.junk[key]; s.Log != nil && (!ok || was != e.value) {
			s.junk[key] = e.value
			s.Log.Warn("Ignoring a key that is no lease", "key", key, "err", err)
		}
		return subnet.Lease{}, false
	}
	return stamp(l, e), true
}

func stamp(l subnet.Lease, e entry) subnet.Lease {
	l.Rev, l.Expires = e.rev, e.expires
	return l
}

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	if err := s.begin(ctx, "Leases"); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	leases := make([]subnet.Lease, 0, len(s.keys))
	for k, e := range s.keys {
		if l, ok := s.lease(k, e); ok {
			leases = append(leases, l)
		}
	}
	return leases, s.rev, nil
}

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.write(ctx, "Create", l, func(key, value string) (entry, error) {
		if e, ok := s.keys[key]; ok {
			if e.value == value {
				return e, nil // as in etcd, where it is our own work twice
			}
			return entry{}, subnet.ErrTaken
		}
		return s.put(key, key, value, ttl), nil
	})
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.write(ctx, "Renew", l, func(key, value string) (entry, error) {
		e, ok := s.keys[key]
		switch {
		case ok && s.holds(key, was):
			return s.put(key, key, value, ttl), nil
		case ok && e.value == value && e.rev > was.Rev:
			return e, nil // as in etcd, where it is our own work twice
		}
		return entry{}, subnet.ErrLost
	})
}

// holds reports whether a key is as it was when the lease was read, under the lock.
func (s *Store) holds(key string, was subnet.Lease) bool {
	l, ok := s.lease(key, s.keys[key])
	return ok && l.Rev == was.Rev && l.Same(was)
}

// Refresh implements subnet.Store. It is quiet, as etcd's is: the revision counts
// on, and no event tells of it.
func (s *Store) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	l, err := s.write(ctx, "Refresh", l, func(key, value string) (entry, error) {
		e, ok := s.keys[key]
		switch {
		case !ok || e.value != value:
			return entry{}, subnet.ErrLost
		case subnet.Seconds(ttl) == 0:
			return entry{}, errors.New("a refresh needs a ttl")
		case e.expires.IsZero():
			return e, nil
		}
		return s.put(key, "", value, ttl), nil
	})
	return l, err == nil, err
}

// write runs f with the lock held.
func (s *Store) write(ctx context.Context, op string, l subnet.Lease, f func(key, value string) (entry, error)) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err == nil {
		err = s.begin(ctx, op)
	}
	if err != nil {
		return l, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := f(wire.Key(l.Key()), value)
	if err != nil {
		return l, fmt.Errorf("write lease %s: %w", l.Key(), err)
	}
	return stamp(l, e), nil
}

// Delete implements subnet.Store.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	if err := s.begin(ctx, "Delete"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := wire.Key(l.Key())
	if _, ok := s.keys[key]; ok && !s.holds(key, l) {
		return fmt.Errorf("delete lease %s: %w", l.Key(), subnet.ErrLost)
	}
	s.remove(key)
	return nil
}

// errUnset prints as etcd would, so that messages in tests look real.
var errUnset = errors.New("100: Key not found (/coreos.com)")

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (config.Document, error) {
	if err := s.begin(ctx, "Config"); err != nil {
		return config.Document{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.rev == 0 {
		return config.Document{Rev: s.rev}, fmt.Errorf("%w: %w [%d]", config.ErrNone, errUnset, s.rev)
	}
	return config.Document{Raw: []byte(s.config.value), Rev: s.config.rev}, nil
}

// SetConfig writes the configuration document, as an operator does.
func (s *Store) SetConfig(document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = s.record(change{entry: entry{value: document}, config: true})
}

// DeleteConfig removes the configuration document, if there is one.
func (s *Store) DeleteConfig() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.rev != 0 {
		s.record(change{deleted: true, config: true})
		s.config = entry{}
	}
}

// PutTTL writes any value under any key below subnets ("10.5.1.0-24"), whatever is
// there, with a TTL in whole seconds; zero: none.
func (s *Store) PutTTL(key, value string, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, key, value, ttl)
}

// Remove deletes a key below subnets, if it is there.
func (s *Store) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// RemoveAll deletes all keys in one event without a name, as deleting their directory does.
func (s *Store) RemoveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
	s.record(change{deleted: true, dir: true})
}

// Churn makes n changes to nobody's keys.
func (s *Store) Churn(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.record(change{})
	}
}
