package subnet

import (
	"context"
	"errors"
	"flanneld/pkg/logtest"
	"flanneld/subnet/config"
	"iter"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

var errDown = errors.New("connection refused")

// fakeStore is a Store in memory, with the ways in which a real one fails.
type fakeStore struct {
	mu      sync.Mutex
	rev     Revision
	leases  map[Key]Lease
	events  []Event
	oldest  Revision // watches from before it are ErrCompacted
	changed chan struct{}
	down    error         // answer of every method
	late    error         // answer of the next Create or Renew, which is done all the same
	junk    map[Key]bool  // keys that hold what is no lease
	delay   time.Duration // of Leases
	ops     map[string]int
	hangs   bool
	loud    bool // Refresh is none, but a write of the whole value
}

func newFakeStore(leases ...Lease) *fakeStore {
	s := &fakeStore{leases: map[Key]Lease{}, junk: map[Key]bool{}, ops: map[string]int{}, changed: make(chan struct{})}
	for _, l := range leases {
		ttl := DefaultTTL
		if l.Reserved() {
			ttl = 0
		}
		s.force(l, ttl)
	}
	return s
}

// put needs the lock.
func (s *fakeStore) put(l Lease, ttl time.Duration) Lease {
	l = s.keep(l, ttl)
	s.emit(Event{Lease: l})
	return l
}

// keep is put without an event.
func (s *fakeStore) keep(l Lease, ttl time.Duration) Lease {
	s.rev++
	l.Rev, l.Expires = s.rev, time.Time{}
	if ttl > 0 {
		l.Expires = time.Now().Add(ttl)
		time.AfterFunc(ttl, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.leases[l.Key()].Rev == l.Rev {
				s.drop(l.Key())
			}
		})
	}
	s.leases[l.Key()] = l
	return l
}

func (s *fakeStore) drop(k Key) {
	s.rev++
	delete(s.leases, k)
	var l Lease
	l.V4.Subnet, l.V6.Subnet, l.Rev = k.V4, k.V6, s.rev
	s.emit(Event{Lease: l, Deleted: true})
}

func (s *fakeStore) emit(e Event) {
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

// force writes as the old daemons do: whoever has the key.
func (s *fakeStore) force(l Lease, ttl time.Duration) Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(l, ttl)
}

func (s *fakeStore) remove(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(k)
}

func (s *fakeStore) setDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
	close(s.changed)
	s.changed = make(chan struct{})
}

// wipe empties the store as a new data directory does: revisions begin anew.
func (s *fakeStore) wipe(leases ...Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases, s.events, s.rev, s.oldest = map[Key]Lease{}, nil, 0, 0
	for _, l := range leases {
		s.put(l, DefaultTTL)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// compact forgets history, as a busy store does.
func (s *fakeStore) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	s.oldest, s.events = s.rev, nil
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeStore) get(k Key) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leases[k]
	return l, ok
}

// hang makes Refresh hang until its context ends.
func (s *fakeStore) hang(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = is
}

func (s *fakeStore) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops[op]
}

func (s *fakeStore) Config(context.Context) (config.Document, error) {
	return config.Document{}, config.ErrNone
}
func (s *fakeStore) AwaitConfig(context.Context, Revision) (config.Document, error) {
	return config.Document{}, config.ErrNone
}

func (s *fakeStore) Leases(context.Context) ([]Lease, Revision, error) {
	s.mu.Lock()
	s.ops["list"]++
	var all []Lease
	for _, l := range s.leases {
		all = append(all, l)
	}
	rev, err, delay := s.rev, s.down, s.delay
	s.mu.Unlock()
	time.Sleep(delay) // the answer grows old on its way
	if err != nil {
		return nil, 0, err
	}
	return all, rev, nil
}

func (s *fakeStore) Watch(ctx context.Context, after Revision) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			s.mu.Lock()
			err, changed := s.down, s.changed
			if err == nil && (after < s.oldest || after > s.rev) {
				err = ErrCompacted
			}
			var next *Event
			for i := range s.events {
				if s.events[i].Lease.Rev > after {
					next = &s.events[i]
					break
				}
			}
			s.mu.Unlock()
			switch {
			case err != nil:
				yield(Event{}, err)
				return
			case next != nil:
				after = next.Lease.Rev
				if !yield(*next, nil) {
					return
				}
				continue
			}
			select {
			case <-ctx.Done():
				yield(Event{}, ctx.Err())
				return
			case <-changed:
			}
		}
	}
}

func (s *fakeStore) write(op string, l Lease, ttl time.Duration, refuse func() error) (Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops[op]++
	if s.down != nil {
		return l, s.down
	}
	if err := refuse(); err != nil {
		return l, err
	}
	written := s.put(l, ttl)
	if err := s.late; err != nil {
		s.late = nil
		return l, err
	}
	return written, nil
}

func (s *fakeStore) Create(_ context.Context, l Lease, ttl time.Duration) (Lease, error) {
	return s.write("create", l, ttl, func() error {
		if _, ok := s.leases[l.Key()]; ok || s.junk[l.Key()] {
			return ErrTaken
		}
		return nil
	})
}

func (s *fakeStore) Renew(_ context.Context, l Lease, ttl time.Duration) (Lease, error) {
	return s.write("renew", l, ttl, func() error {
		if s.leases[l.Key()].Rev != l.Rev {
			return ErrLost
		}
		return nil
	})
}

func (s *fakeStore) Refresh(ctx context.Context, l Lease, ttl time.Duration) (Lease, bool, error) {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return l, false, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops["refresh"]++
	have, ok := s.leases[l.Key()]
	switch {
	case s.down != nil:
		return l, false, s.down
	case !ok || !have.SameClaim(l) || have.Node != l.Node:
		return l, false, ErrLost
	}
	if err := s.late; err != nil {
		s.late = nil
		s.keep(l, ttl)
		return l, false, err
	}
	if s.loud {
		return s.put(l, ttl), false, nil
	}
	return s.keep(l, ttl), true, nil
}

func (s *fakeStore) Delete(_ context.Context, l Lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops["delete"]++
	have, ok := s.leases[l.Key()]
	switch {
	case s.down != nil:
		return s.down
	case !ok:
		return nil
	case have.Rev != l.Rev:
		return ErrLost
	}
	s.drop(l.Key())
	return nil
}

// lease makes a lease that does not expire in the next day.
func lease(p4, ip string, data ...string) Lease {
	l := Lease{Type: "vxlan", Expires: time.Now().Add(DefaultTTL)}
	l.V4 = Claim{Subnet: netip.MustParsePrefix(p4), PublicIP: netip.MustParseAddr(ip), Data: strings.Join(data, "")}
	return l
}

func key(p4 string) Key { return Key{V4: netip.MustParsePrefix(p4)} }

// logs keeps what was logged.
type logs struct{ logtest.Buffer }

func (l *logs) logger() *slog.Logger { return l.Logger() }

func (l *logs) lines(with string) int { return l.Lines(with) }

func (l *logs) want(t *testing.T, with string, lines int) {
	t.Helper()
	if n := l.lines(with); n != lines {
		t.Errorf("%d log lines with %q, want %d, in:\n%s", n, with, lines, l)
	}
}
