package subnet

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/pkg/logtest"
	"flanneld/subnet/config"
)

var errDown = errors.New("connection refused")

// Memory is memstore, which cannot be imported here: it imports this package.
type Memory interface {
	Store
	Force(l Lease, ttl time.Duration) // whoever has the key; data that is no JSON is junk
	Remove(k Key)
	Churn(n int)
}

// NewMemory returns an empty Memory. TestMain sets it.
var NewMemory func() Memory

// fakeStore is a Memory that fails in the ways of a real store.
type fakeStore struct {
	mu      sync.Mutex
	memory  Memory
	ended   context.CancelCauseFunc // ends all watches with an error
	watches context.Context
	down    error         // answer of every method
	late    error         // answer of the next Create, Renew or Refresh, which is done all the same
	delay   time.Duration // of Leases
	ops     map[string]int
	told    int  // events of all watches
	mute    Key  // no watch tells of it
	hangs   bool // Refresh does until its context ends
	loud    bool // Refresh is a write of the whole value
}

func newFakeStore(leases ...Lease) *fakeStore {
	s := &fakeStore{memory: NewMemory(), ops: map[string]int{}}
	s.watches, s.ended = context.WithCancelCause(context.Background())
	for _, l := range leases {
		ttl := DefaultTTL
		if l.Reserved() {
			ttl = 0
		}
		s.force(l, ttl)
	}
	return s
}

func (s *fakeStore) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// end ends all watches.
func (s *fakeStore) end(err error) {
	s.ended(err)
	s.watches, s.ended = context.WithCancelCause(context.Background())
}

// force writes as the old daemons do: whoever has the key.
func (s *fakeStore) force(l Lease, ttl time.Duration) Lease {
	s.memory.Force(l, ttl)
	l, _ = s.get(l.Key())
	return l
}

// spoil makes a key hold what is no lease.
func (s *fakeStore) spoil(k Key) {
	var junk Lease
	junk.V4.Subnet = k.V4
	s.memory.Force(junk, 0)
}

func (s *fakeStore) remove(k Key) { s.memory.Remove(k) }

func (s *fakeStore) setDown(err error) {
	s.set(func() {
		if s.down = err; err != nil {
			s.end(err)
		}
	})
}

// wipe empties the store as a new data directory does: revisions begin anew.
func (s *fakeStore) wipe(leases ...Lease) {
	s.set(func() {
		s.memory = NewMemory()
		for _, l := range leases {
			s.memory.Force(l, DefaultTTL)
		}
		s.end(ErrCompacted)
	})
}

// compact forgets history, as a busy store does.
func (s *fakeStore) compact() { s.memory.Churn(1001) }

func (s *fakeStore) all() []Lease {
	leases, _, _ := s.memory.Leases(context.Background())
	return leases
}

func (s *fakeStore) get(k Key) (Lease, bool) {
	for _, l := range s.all() {
		if l.Key() == k {
			return l, true
		}
	}
	return Lease{}, false
}

func (s *fakeStore) hang(is bool) { s.set(func() { s.hangs = is }) }

func (s *fakeStore) count(op string) (n int) {
	s.set(func() { n = s.ops[op] })
	return n
}

func (s *fakeStore) events() (n int) {
	s.set(func() { n = s.told })
	return n
}

// begin counts a call, and returns what it is answered by.
func (s *fakeStore) begin(op string) (memory Memory, err error) {
	s.set(func() {
		s.ops[op]++
		memory, err = s.memory, s.down
	})
	return memory, err
}

// answer loses the answer to a write, if it is to be.
func (s *fakeStore) answer(l, written Lease, err error) (Lease, error) {
	s.set(func() {
		if err == nil && s.late != nil {
			written, err, s.late = l, s.late, nil
		}
	})
	return written, err
}

func (s *fakeStore) Config(ctx context.Context) (config.Document, error) { return s.memory.Config(ctx) }
func (s *fakeStore) AwaitConfig(ctx context.Context, r Revision) (config.Document, error) {
	return s.memory.AwaitConfig(ctx, r)
}

func (s *fakeStore) Leases(ctx context.Context) ([]Lease, Revision, error) {
	memory, err := s.begin("list")
	if err != nil {
		time.Sleep(s.delay)
		return nil, 0, err
	}
	leases, rev, _ := memory.Leases(ctx)
	time.Sleep(s.delay) // the answer grows old on its way
	return leases, rev, nil
}

func (s *fakeStore) Watch(ctx context.Context, after Revision) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		memory, err := s.begin("watch")
		if err != nil {
			yield(Event{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var watches context.Context
		s.set(func() { watches = s.watches })
		defer context.AfterFunc(watches, cancel)()
		for e, err := range memory.Watch(ctx, after) {
			if watches.Err() != nil {
				err = context.Cause(watches)
			}
			if err == nil {
				s.set(func() { s.told++ })
				if e.Lease.Key() == s.mute {
					continue
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s *fakeStore) Create(ctx context.Context, l Lease, ttl time.Duration) (Lease, error) {
	memory, err := s.begin("create")
	if err != nil {
		return l, err
	}
	written, err := memory.Create(ctx, l, ttl)
	return s.answer(l, written, err)
}

func (s *fakeStore) Renew(ctx context.Context, was, l Lease, ttl time.Duration) (Lease, error) {
	memory, err := s.begin("renew")
	if err != nil {
		return l, err
	}
	written, err := memory.Renew(ctx, was, l, ttl)
	return s.answer(l, written, err)
}

func (s *fakeStore) Refresh(ctx context.Context, l Lease, ttl time.Duration) (Lease, bool, error) {
	var hangs bool
	if s.set(func() { hangs = s.hangs }); hangs {
		<-ctx.Done()
		return l, false, context.Cause(ctx)
	}
	memory, err := s.begin("refresh")
	if err != nil {
		return l, false, err
	}
	var written Lease
	quiet := !s.loud
	if quiet {
		written, _, err = memory.Refresh(ctx, l, ttl)
	} else {
		written, err = memory.Renew(ctx, l, l, ttl)
	}
	written, err = s.answer(l, written, err)
	return written, quiet && err == nil, err
}

func (s *fakeStore) Delete(ctx context.Context, l Lease) error {
	memory, err := s.begin("delete")
	if err != nil {
		return err
	}
	return memory.Delete(ctx, l)
}

// quoted makes JSON of a word.
func quoted(data string) string {
	if data == "" || strings.ContainsAny(data[:1], `{"`) {
		return data
	}
	return strconv.Quote(data)
}

// lease makes a lease that does not expire in the next day.
func lease(p4, ip string, data ...string) Lease {
	l := Lease{Type: "vxlan", Expires: time.Now().Add(DefaultTTL)}
	l.V4 = Claim{Subnet: netip.MustParsePrefix(p4), PublicIP: netip.MustParseAddr(ip), Data: quoted(strings.Join(data, ""))}
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
