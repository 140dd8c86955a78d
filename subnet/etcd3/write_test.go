package etcd3

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"flanneld/subnet"
)

func unknown(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, subnet.ErrTaken) || errors.Is(err, subnet.ErrLost) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want an error that leaves it open", what, err)
	}
}

// wantOnly fails the test if the store has another lease, or that in another place of its
// history. It may live longer by now.
func wantOnly(t *testing.T, s *Store, want subnet.Lease) {
	t.Helper()
	all, _, err := s.Leases(t.Context())
	if err != nil || len(all) != 1 || !all[0].Same(want) || all[0].Rev != want.Rev || all[0].Expires.Before(want.Expires) {
		t.Errorf("Leases = %+v, %v; want %+v", all, err, want)
	}
}

// A write whose answer is lost is found by reading back, with one endpoint as with many.
func TestWritesWhoseAnswerIsLostAreSettled(t *testing.T) {
	t.Parallel()
	for _, endpoints := range []int{1, 2} {
		f, g := newFaults("/Txn"), newFaults("/LeaseGrant")
		s, seen := startSeen(t, Options{grpc: []grpc.DialOption{f.option(), g.option()}})
		for range endpoints - 1 {
			s.api.members.endpoints = append(s.api.members.endpoints, s.api.members.endpoints[0])
		}
		f.lose.Store(1)
		l, err := s.Create(t.Context(), lease(1), time.Hour)
		if err != nil || l.Rev == 0 || time.Until(l.Expires) < 59*time.Minute {
			t.Fatalf("Create = %+v, %v", l, err)
		}
		f.lose.Store(1)
		was := l
		l.V4.Data = `{"VNI":2}`
		if l, err = s.Renew(t.Context(), was, l, time.Hour); err != nil || l.Rev <= was.Rev {
			t.Fatalf("Renew = %+v, %v", l, err)
		}
		// The value that is written is the one that is there.
		f.lose.Store(1)
		was = l
		if l, err = s.Renew(t.Context(), was, l, time.Hour); err != nil || l.Rev <= was.Rev {
			t.Fatalf("Renew of the same = %+v, %v", l, err)
		}
		if _, err := s.Renew(t.Context(), was, was, time.Hour); err != nil { // our own value, written since
			t.Errorf("Renew of what was: %v", err)
		}
		wantOnly(t, s, l)
		// Our value as it was before we wrote it, as after a restore, is no success.
		ahead := l
		ahead.Rev += 1000
		if _, err := s.Renew(t.Context(), ahead, ahead, time.Hour); !errors.Is(err, subnet.ErrLost) {
			t.Errorf("Renew of what was restored: %v, want ErrLost", err)
		}
		f.lose.Store(1)
		if err := s.Delete(t.Context(), l); err != nil && endpoints > 1 {
			t.Errorf("Delete: %v", err)
		}
		if err := s.Delete(t.Context(), l); err != nil {
			t.Errorf("Delete again: %v", err)
		}
		if endpoints > 1 {
			g.lose.Store(1)
			if _, err := s.Create(t.Context(), lease(2), time.Hour); err != nil {
				t.Errorf("Create whose grant's answer is lost: %v", err)
			}
			if all := seen.leases(); len(all) != 1 {
				t.Errorf("etcd has the leases %v", all)
			}
		}
	}
}

func TestWritesThatAreLostAreLeftOpen(t *testing.T) {
	t.Parallel()
	f := newFaults("/Txn")
	s, _ := startSeen(t, Options{grpc: []grpc.DialOption{f.option()}})
	f.refuse.Store(1)
	_, err := s.Create(t.Context(), lease(1), time.Hour)
	unknown(t, "Create", err)
	l := mustCreate(t, s, 1)
	f.refuse.Store(1)
	_, err = s.Renew(t.Context(), l, l, time.Hour)
	unknown(t, "Renew", err)
	f.refuse.Store(1)
	unknown(t, "Delete", s.Delete(t.Context(), l))
	wantOnly(t, s, l)
}

// A member that hangs can do much later what it was sent.
func TestALateWriteChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFaults("/Txn")
	s, seen := startSeen(t, Options{grpc: []grpc.DialOption{f.option()}})
	stranger := lease(1)
	stranger.Node, stranger.V4.PublicIP = lease(2).Node, lease(2).V4.PublicIP
	late := func(what string) {
		t.Helper()
		if err := (<-f.kept)(); err != nil {
			t.Errorf("%s, late: %v", what, err)
		}
	}

	f.keep.Store(1)
	_, err := s.Create(t.Context(), lease(1), time.Hour)
	unknown(t, "Create", err)
	held, err := s.Create(t.Context(), stranger, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	late("Create")
	wantOnly(t, s, held)
	if _, err := s.Create(t.Context(), lease(1), time.Hour); !errors.Is(err, subnet.ErrTaken) {
		t.Errorf("Create again: %v, want ErrTaken", err)
	}

	f.keep.Store(1)
	changed := held
	changed.V4.Data = `{"VNI":3}`
	_, err = s.Renew(t.Context(), held, changed, time.Hour)
	unknown(t, "Renew", err)
	now, err := s.Renew(t.Context(), held, held, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	late("Renew")
	f.keep.Store(1)
	unknown(t, "Delete", s.Delete(t.Context(), now))
	if now, err = s.Renew(t.Context(), now, now, time.Hour); err != nil {
		t.Fatal(err)
	}
	late("Delete")
	wantOnly(t, s, now)

	// It is done before it is tried again: then it is ours.
	f.keep.Store(1)
	_, err = s.Renew(t.Context(), now, changed, time.Hour)
	unknown(t, "Renew", err)
	late("Renew")
	l, err := s.Renew(t.Context(), now, changed, 2*time.Hour)
	if err != nil || l.Rev <= now.Rev || time.Until(l.Expires) < 119*time.Minute {
		t.Errorf("Renew again = %+v, %v", l, err)
	}
	if value, id, _ := seen.get(s.leaseKey(l.Key())); value != encoded(t, changed) || seen.leases()[id] < 119*time.Minute {
		t.Errorf("etcd has %s tied to %x of %v", value, id, seen.leases())
	}
}

// While somebody writes our value all the time, it is ours, and its etcd lease may not be.
func TestWhatIsRefusedAgainAndAgainIsLeftOpen(t *testing.T) {
	t.Parallel()
	var s *Store
	var seen etcdAsSeen
	again := grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if method == "/etcdserverpb.KV/Txn" {
			seen.put(s.leaseKey(lease(1).Key()), encoded(t, lease(1)), seen.grant(time.Hour))
		}
		return invoke(ctx, method, request, answer, conn, o...)
	})
	s, seen = startSeen(t, Options{grpc: []grpc.DialOption{again}})
	_, err := s.Create(t.Context(), lease(1), time.Hour)
	unknown(t, "Create", err)
	l := lease(1)
	_, _, rev := seen.get(s.leaseKey(l.Key()))
	l.Rev = subnet.Revision(rev)
	_, err = s.Renew(t.Context(), l, l, time.Hour)
	unknown(t, "Renew", err)
	_, _, err = s.Refresh(t.Context(), l, time.Hour)
	unknown(t, "Refresh", err)
}

// A renewal costs etcd a read and a keep-alive, a creation a grant and a write.
func TestRequestsAreFew(t *testing.T) {
	t.Parallel()
	all, streams := newFaults(""), 0
	s, _ := startSeen(t, Options{grpc: []grpc.DialOption{all.option(), grpc.WithChainStreamInterceptor(
		func(ctx context.Context, d *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			streams++
			return open(ctx, d, conn, method, o...)
		})}})
	check := func(what string, most int32) {
		t.Helper()
		if n := all.sent.Swap(0) + int32(streams); n > most {
			t.Errorf("%s: %d requests, want %d", what, n, most)
		}
		streams = 0
	}
	l := mustCreate(t, s, 1)
	check("Create", 2)
	l, _, err := s.Refresh(t.Context(), l, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	check("Refresh", 3)
	if _, err = s.Renew(t.Context(), l, l, time.Hour); err != nil {
		t.Fatal(err)
	}
	check("Renew", 4)
	if _, _, err := s.Leases(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("Leases", 1)
}

func TestReservationsAreTiedToNothing(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	l, err := s.Create(t.Context(), lease(1), 0)
	if err != nil || !l.Reserved() {
		t.Fatalf("Create = %+v, %v", l, err)
	}
	key := s.leaseKey(l.Key())
	for what, do := range map[string]func() (subnet.Lease, error){
		"Refresh": func() (subnet.Lease, error) { l, _, err := s.Refresh(t.Context(), l, time.Hour); return l, err },
		"Renew":   func() (subnet.Lease, error) { return s.Renew(t.Context(), l, l, 0) },
		"Create":  func() (subnet.Lease, error) { return s.Create(t.Context(), l, time.Hour) },
	} {
		got, err := do()
		if _, id, _ := seen.get(key); err != nil || !got.Reserved() || id != 0 {
			t.Errorf("%s = %+v, %v; the key is tied to %x", what, got, err, id)
		}
		l = got
	}
	// An operator makes one of a lease: the lease of before is nobody's.
	m := mustCreate(t, s, 2)
	seen.put(s.leaseKey(m.Key()), encoded(t, m), clientv3.NoLease)
	if got, quiet, err := s.Refresh(t.Context(), m, time.Hour); err != nil || !quiet || !got.Reserved() {
		t.Errorf("Refresh = %+v, %t, %v; want a reservation", got, quiet, err)
	}
}
