package tenant

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/memstore"
	"flanneld/subnet/wire"
)

// host is a Tenant over a store, and what it was told.
type host struct {
	*Tenant
	store *memstore.Store

	mu      sync.Mutex
	states  []subnet.State
	renamed int
}

func (h *host) seen() []subnet.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.states)
}

func newHost(t *testing.T, change func(*Options)) *host {
	t.Helper()
	cfg, _, err := config.Parse([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{store: memstore.New()}
	o := Options{
		Store: h.store, View: subnet.NewView(), Log: slog.New(slog.DiscardHandler),
		Request: subnet.Request{Config: cfg, Lease: subnet.Lease{Node: "node1"}},
		Rename:  func(error) string { h.renamed++; return "node2" },
		Changed: func(_, now subnet.Standing) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if n := len(h.states); n == 0 || h.states[n-1] != now.State {
				h.states = append(h.states, now.State)
			}
		},
	}
	change(&o)
	h.Tenant = New(o)
	h.Publish(claims("192.0.2.1"), nil)
	return h
}

func claims(public string) subnet.Lease {
	return subnet.Lease{Type: "vxlan", V4: subnet.Claim{PublicIP: netip.MustParseAddr(public), Data: `{}`}}
}

// run acquires a lease and holds it until the end of the test, or until Run ends, whose
// error is sent.
func (h *host) run(t *testing.T) <-chan error {
	t.Helper()
	got, err := h.Acquire(t.Context(), h.store)
	if err != nil {
		t.Fatal(err)
	}
	h.Begin(got, false)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	ended := make(chan error, 1)
	group.Go(func() { ended <- h.Run(ctx) })
	group.Go(func() { _ = subnet.Follow(ctx, h.store, h.View, got.Seen.Rev, h.Log) })
	t.Cleanup(func() { cancel(); group.Wait() })
	synctest.Wait()
	return ended
}

func (h *host) stored(t *testing.T, k subnet.Key) (l subnet.Lease) {
	t.Helper()
	leases, _, err := h.store.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if l.Key() == k {
			return l
		}
	}
	return l
}

func TestWhatIsPublishedIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(*Options) {})
		h.run(t)
		l, s := h.State()
		if s.State != subnet.Held || h.stored(t, l.Key()).V4.PublicIP != netip.MustParseAddr("192.0.2.1") {
			t.Fatalf("the host stands at %+v, and the store has %+v", s, h.stored(t, l.Key()))
		}
		h.Publish(claims("192.0.2.2"), nil)
		if now, _ := h.State(); now.Key() != l.Key() || now.V4.PublicIP != netip.MustParseAddr("192.0.2.2") {
			t.Errorf("after a move the lease is %+v", now)
		}
		time.Sleep(time.Second)
		if got := h.stored(t, l.Key()); got.V4.PublicIP != netip.MustParseAddr("192.0.2.2") {
			t.Errorf("the store has %+v after a move", got)
		}
	})
}

// takenAway writes another host's value over the key of the lease.
func (h *host) takenAway(t *testing.T, node string) subnet.Key {
	t.Helper()
	l, _ := h.State()
	other := h.stored(t, l.Key())
	other.V4.PublicIP, other.Node = netip.MustParseAddr("192.0.2.9"), node
	value, err := wire.Encode(other)
	if err != nil {
		t.Fatal(err)
	}
	h.store.PutTTL(wire.Key(l.Key()), value, time.Hour)
	return l.Key()
}

func TestALostLeaseIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(*Options) {})
		h.run(t)
		lost := h.takenAway(t, "another")
		time.Sleep(time.Minute)
		l, s := h.State()
		if l.Key() == lost || s.State != subnet.Rebound || h.stored(t, l.Key()).Node != "node1" {
			t.Errorf("the lease is %+v, and the host stands at %+v", l, s)
		}
		if got := h.stored(t, lost); got.Node != "another" {
			t.Errorf("the other host's lease is %+v now", got)
		}
		// A host that has lost a lease has lost it until it has another one.
		want := []subnet.State{subnet.Acquiring, subnet.Held, subnet.Conflict, subnet.Rebound}
		if got := h.seen(); !slices.Equal(got, want) {
			t.Errorf("it went through %v, want %v", got, want)
		}
		if h.renamed != 0 {
			t.Error("it has another node id, though nobody has its own")
		}
	})
}

func TestASurrenderedLeaseEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(o *Options) { o.Surrender = true })
		ended := h.run(t)
		h.takenAway(t, "another")
		time.Sleep(time.Minute)
		select {
		case err := <-ended:
			if !errors.Is(err, ErrRevoked) {
				t.Errorf("Run = %v, want ErrRevoked", err)
			}
		default:
			t.Error("Run goes on")
		}
	})
}

func TestRunShowsThatItIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(*Options) {})
		h.run(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Alive(ctx); err != nil {
			t.Error(err)
		}
	})
}
