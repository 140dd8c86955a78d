package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/memstore"
	"flanneld/subnet/wire"
)

const document = `{"Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}`

// space is a keyspace in memory, as a mirror gets it.
type space struct {
	*memstore.Store
	name   string
	before func(op string, was, l subnet.Lease) // called before each write
	loses  func() bool                          // reports whether the answer to a write is lost

	mu     sync.Mutex
	down   error
	writes map[string]int // by the operation
}

func newSpace(name string) *space {
	s := &space{Store: memstore.New(), name: name, writes: make(map[string]int), before: func(string, subnet.Lease, subnet.Lease) {}, loses: func() bool { return false }}
	return s
}

func (s *space) setDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func (s *space) begin(op string, was, l subnet.Lease) error {
	s.mu.Lock()
	down := s.down
	if down == nil && op != "" {
		s.writes[op]++
	}
	s.mu.Unlock()
	if down == nil && op != "" {
		s.before(op, was, l)
	}
	return down
}

// count returns the writes but for refreshes.
func (s *space) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes["create"] + s.writes["renew"] + s.writes["delete"]
}

func (s *space) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	if err := s.begin("", subnet.Lease{}, subnet.Lease{}); err != nil {
		return nil, 0, err
	}
	return s.Store.Leases(ctx)
}

func (s *space) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		for e, err := range s.Store.Watch(ctx, after) {
			if down := s.begin("", subnet.Lease{}, subnet.Lease{}); down != nil {
				yield(subnet.Event{}, down)
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s *space) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	if err := s.begin("create", subnet.Lease{}, l); err != nil {
		return l, err
	}
	return answer(s, func() (subnet.Lease, error) { return s.Store.Create(ctx, l, ttl) })
}

func (s *space) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	if err := s.begin("renew", was, l); err != nil {
		return l, err
	}
	return answer(s, func() (subnet.Lease, error) { return s.Store.Renew(ctx, was, l, ttl) })
}

func (s *space) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	if err := s.begin("refresh", l, l); err != nil {
		return l, false, err
	}
	return s.Store.Refresh(ctx, l, ttl)
}

func (s *space) Delete(ctx context.Context, l subnet.Lease) error {
	if err := s.begin("delete", l, subnet.Lease{}); err != nil {
		return err
	}
	_, err := answer(s, func() (subnet.Lease, error) { return l, s.Store.Delete(ctx, l) })
	return err
}

// answer returns what a write returns, unless that is lost.
func answer(s *space, write func() (subnet.Lease, error)) (subnet.Lease, error) {
	l, err := write()
	if s.loses() {
		return subnet.Lease{}, errors.New("no answer")
	}
	return l, err
}

func (s *space) Config(ctx context.Context) (config.Document, error) {
	if err := s.begin("", subnet.Lease{}, subnet.Lease{}); err != nil {
		return config.Document{}, err
	}
	return s.Store.Config(ctx)
}

func (s *space) WriteConfig(ctx context.Context, was config.Document, raw []byte) error {
	now, err := s.Config(ctx)
	if err != nil && !errors.Is(err, config.ErrNone) {
		return err
	}
	if string(now.Raw) != string(was.Raw) {
		return subnet.ErrLost
	}
	s.SetConfig(string(raw))
	return nil
}

// raw returns all leases by their key, past every failure.
func (s *space) raw() map[subnet.Key]subnet.Lease {
	all, _, err := s.Store.Leases(context.Background())
	if err != nil {
		panic(err)
	}
	by := make(map[subnet.Key]subnet.Lease)
	for _, l := range all {
		by[l.Key()] = l
	}
	return by
}

// restore puts another store in the place of this one, as a restored backup is. Who watches
// is told that the store is away.
func (s *space) restore(with func(*space)) {
	s.setDown(errors.New("away"))
	s.Churn(2000)
	s.put(lease("10.5.99.0/24", "192.0.2.99", "", ""), time.Minute)
	synctest.Wait()
	s.mu.Lock()
	s.Store = memstore.New()
	s.mu.Unlock()
	with(s)
	s.setDown(nil)
}

func (s *space) get(k subnet.Key) subnet.Lease { return s.raw()[k] }

// put writes a lease whatever is there, as releases do.
func (s *space) put(l subnet.Lease, ttl time.Duration) {
	v, err := wire.Encode(l)
	if err != nil {
		panic(err)
	}
	s.PutTTL(wire.Key(l.Key()), v, ttl)
}

func key(p string) subnet.Key { return subnet.Key{V4: netip.MustParsePrefix(p)} }

func lease(p, ip, node, mac string) subnet.Lease {
	return subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix(p), PublicIP: netip.MustParseAddr(ip), Data: `{"VtepMAC":"` + mac + `"}`},
		Type: "vxlan", Node: node}
}

// lab is a mirror between two keyspaces, in a bubble.
type lab struct {
	*testing.T
	v2, v3 *space
	mirror *Mirror
	ended  chan error
	cancel context.CancelFunc
}

func newLab(t *testing.T) *lab {
	l := &lab{T: t, v2: newSpace("v2"), v3: newSpace("v3")}
	l.v2.SetConfig(document)
	return l
}

func (l *lab) begin() {
	ctx, cancel := context.WithCancel(l.Context())
	l.mirror = New(Options{From: Side{"v2", l.v2}, To: Side{"v3", l.v3}, Log: slog.New(slog.DiscardHandler)})
	l.cancel, l.ended = cancel, make(chan error, 1)
	go func() { l.ended <- l.mirror.Run(ctx) }()
	synctest.Wait()
}

func (l *lab) end() Report {
	l.cancel()
	if err := <-l.ended; err != nil {
		l.Errorf("Run = %v", err)
	}
	return l.mirror.Report()
}

// settle waits until the mirror has done what there is to do, and not much longer.
func (l *lab) settle() { time.Sleep(3 * time.Second); synctest.Wait() }

func (l *lab) want(s *space, what subnet.Lease, mirror string) {
	l.Helper()
	what.Mirror = mirror
	if now := s.get(what.Key()); !now.Same(what) {
		l.Errorf("%s has %s at %s, want %s", s.name, show(now), what.Key(), show(what))
	}
}

func (l *lab) wantNone(s *space, k subnet.Key) {
	l.Helper()
	if now, ok := s.raw()[k]; ok {
		l.Errorf("%s has %s at %s, want nothing", s.name, show(now), k)
	}
}

func show(l subnet.Lease) string {
	return fmt.Sprintf("[%s node %q %s mirror %q contest %q expires %s]", l.V4.PublicIP, l.Node, l.V4.Data, l.Mirror, l.Contest, l.Expires)
}

// bubble runs a test in virtual time, with a mirror that has begun.
func bubble(t *testing.T, before func(*lab), f func(*lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		if before != nil {
			before(l)
		}
		l.begin()
		defer l.end()
		f(l)
	})
}
