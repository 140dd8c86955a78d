package etcd3

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// holder is a host that holds lease(1) and follows the others'.
type holder struct {
	*Store
	view *subnet.View
	seen etcdAsSeen

	mu   sync.Mutex
	last subnet.Standing
}

func hold(t *testing.T, url string, life time.Duration) *holder {
	t.Helper()
	h := &holder{
		Store: newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, brisk()),
		view:  subnet.NewView(), seen: etcdAsSeen{byHand(t, url), t},
	}
	l, err := h.Create(t.Context(), lease(1), life)
	if err != nil {
		t.Fatal(err)
	}
	all, rev, err := h.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.view.Reset(subnet.Snapshot{Leases: all, Rev: rev})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() { _ = subnet.Follow(ctx, h.Store, h.view, rev, log) })
	g.Go(func() {
		if err := subnet.Hold(ctx, h.Store, l, subnet.Holding{TTL: life, View: h.view, Log: log, Report: h.report}); err != nil {
			t.Errorf("Hold: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); g.Wait() })
	return h
}

func (h *holder) report(s subnet.Standing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = s
}

func (h *holder) state() subnet.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.State
}

// eventually waits for what is to be so soon.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(10*time.Second + stall); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not so", what)
		}
	}
}

// mine reports whether the host's key is there, and tied to an etcd lease of the host's.
func (h *holder) mine() bool {
	value, id, _ := h.seen.get(h.leaseKey(lease(1).Key()))
	return value == encoded(h.seen.t, lease(1)) && h.writer.grants.ours(int64(id), lease(1).Node)
}

func TestALeaseIsHeldForLongerThanItLives(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	h := hold(t, url, 3*time.Second)
	_, _, rev := h.seen.get(h.leaseKey(lease(1).Key()))
	time.Sleep(8 * time.Second)
	if _, _, now := h.seen.get(h.leaseKey(lease(1).Key())); now != rev || !h.mine() || h.state() != subnet.Held {
		t.Errorf("the key is at revision %d, written at %d, and the lease is %v", now, rev, h.state())
	}
	if all := h.seen.leases(); len(all) != 1 {
		t.Errorf("etcd has the leases %v", all)
	}
}

func TestAnOwnKeyThatGoesOrIsTiedToAnother(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	h := hold(t, url, time.Hour)
	key := h.leaseKey(lease(1).Key())
	if _, err := h.seen.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is created again", h.mine)
	_, id, _ := h.seen.get(key)
	if _, err := h.seen.Revoke(t.Context(), id); err != nil { // as if it had expired
		t.Fatal(err)
	}
	eventually(t, "the key is created again", h.mine)
	h.seen.put(key, encoded(t, lease(1)), h.seen.grant(3*time.Second))
	eventually(t, "the key is tied to a lease of the host's again", h.mine)
	h.seen.put(key, encoded(t, lease(1)), clientv3.NoLease)
	eventually(t, "the lease is known as a reservation", func() bool { return h.view.Leases()[0].Reserved() })
	if value, id, _ := h.seen.get(key); value != encoded(t, lease(1)) || id != 0 {
		t.Errorf("the reservation is %s, tied to %x", value, id)
	}
	changed := lease(1)
	changed.V4.Data = ""
	h.seen.put(key, encoded(t, changed), h.seen.grant(time.Hour))
	eventually(t, "what an operator wrote is written over", func() bool {
		value, _, _ := h.seen.get(key)
		return value == encoded(t, lease(1))
	})
}

// Whoever deletes all keys has not told the hosts to go.
func TestPeersAreKeptWhenAllKeysGo(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	h := hold(t, url, time.Hour)
	for n := range byte(4) {
		h.seen.put(h.leaseKey(lease(n+2).Key()), encoded(t, lease(n+2)), h.seen.grant(time.Hour))
	}
	eventually(t, "the peers are known", func() bool { return len(h.view.Leases()) == 5 })
	// One goes by itself.
	if _, err := h.seen.Delete(t.Context(), h.leaseKey(lease(5).Key())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a peer has gone", func() bool { return len(h.view.Leases()) == 4 && h.view.Lost() == 0 })
	time.Sleep(2500 * time.Millisecond) // or it may be one of those that go together
	if _, err := h.seen.Delete(t.Context(), "/net/subnets/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three peers are kept", func() bool { return h.mine() && h.view.Lost() == 3 })
	for _, l := range h.view.Leases() {
		if left := time.Until(l.Expires); l.Key() != lease(1).Key() && (left < 23*time.Hour || left > 24*time.Hour) {
			t.Errorf("%v is kept for %v", l.Key(), left)
		}
	}
	// One comes back.
	h.seen.put(h.leaseKey(lease(2).Key()), encoded(t, lease(2)), h.seen.grant(time.Hour))
	eventually(t, "two peers are kept", func() bool { return h.view.Lost() == 2 && len(h.view.Leases()) == 4 })
}
