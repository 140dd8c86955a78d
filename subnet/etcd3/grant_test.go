package etcd3

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"flanneld/pkg/wake"
	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
	"flanneld/subnet/wire"
)

// lease returns the lease of 10.5.n.0/24 by a host that has a node id.
func lease(n byte) subnet.Lease {
	return subnet.Lease{Type: "vxlan", Node: "0123456789abcdef0123456789abcde" + string('a'+rune(n%6)), V4: subnet.Claim{
		Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, n, 0}), 24),
		PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, n}),
		Data:     `{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`,
	}}
}

func encoded(t *testing.T, l subnet.Lease) string {
	t.Helper()
	v, err := wire.Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustCreate(t *testing.T, s *Store, n byte) subnet.Lease {
	t.Helper()
	l, err := s.Create(t.Context(), lease(n), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// etcd is what somebody with etcdctl sees.
type etcdAsSeen struct {
	*clientv3.Client
	t *testing.T
}

func (e etcdAsSeen) get(key string) (value string, lease clientv3.LeaseID, rev int64) {
	e.t.Helper()
	r, err := e.Get(e.t.Context(), key)
	if err != nil {
		e.t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return "", 0, 0
	}
	return string(r.Kvs[0].Value), clientv3.LeaseID(r.Kvs[0].Lease), r.Kvs[0].ModRevision
}

// leases returns how long etcd's leases live.
func (e etcdAsSeen) leases() map[clientv3.LeaseID]time.Duration {
	e.t.Helper()
	r, err := e.Leases(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	all := make(map[clientv3.LeaseID]time.Duration)
	for _, l := range r.Leases {
		ttl, err := e.TimeToLive(e.t.Context(), l.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		if ttl.TTL > 0 {
			all[l.ID] = time.Duration(ttl.TTL) * time.Second
		}
	}
	return all
}

func (e etcdAsSeen) grant(ttl time.Duration) clientv3.LeaseID {
	e.t.Helper()
	r, err := e.Grant(e.t.Context(), int64(ttl/time.Second))
	if err != nil {
		e.t.Fatal(err)
	}
	return r.ID
}

func (e etcdAsSeen) put(key, value string, lease clientv3.LeaseID) {
	e.t.Helper()
	if _, err := e.Put(e.t.Context(), key, value, clientv3.WithLease(lease)); err != nil {
		e.t.Fatal(err)
	}
}

func startSeen(t *testing.T, o Options) (*Store, etcdAsSeen) {
	t.Helper()
	url := etcdproc.Start(t)
	o.Endpoints, o.Prefix = []string{url}, "/net"
	return newTestStore(t, o, defaults(0)), etcdAsSeen{byHand(t, url), t}
}

// Release 0.28.9 leaves a lease at each renewal.
func TestAHostHasOneEtcdLeaseWhateverItDoes(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	l := mustCreate(t, s, 1)
	key := s.leaseKey(l.Key())
	_, id, _ := seen.get(key)
	one := func(after string) {
		t.Helper()
		_, now, _ := seen.get(key)
		if all := seen.leases(); len(all) != 1 || all[now] == 0 || now != id {
			t.Errorf("after %s etcd has the leases %v, and the key has %x, want only %x", after, all, now, id)
		}
	}
	one("Create")
	for range 5 {
		var quiet bool
		var err error
		if l, quiet, err = s.Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
			t.Fatalf("Refresh: %t, %v", quiet, err)
		}
	}
	one("Refresh")
	for i := range 5 {
		was := l
		l.V4.Data = `{"VNI":` + string(rune('1'+i)) + `}`
		var err error
		if l, err = s.Renew(t.Context(), was, l, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	one("Renew")
	if _, err := s.Create(t.Context(), lease(1), time.Hour); !errors.Is(err, subnet.ErrTaken) {
		t.Fatalf("Create of what is there: %v", err)
	}
	one("a race that was lost")

	// The daemon starts again, and again.
	for range 3 {
		again := newTestStore(t, Options{Endpoints: []string{seen.Endpoints()[0]}, Prefix: "/net"}, defaults(0))
		var err error
		if l, err = again.Renew(t.Context(), l, l, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got, quiet, err := again.Refresh(t.Context(), l, time.Hour); err != nil || !quiet || time.Until(got.Expires) < 59*time.Minute {
			t.Fatalf("Refresh by another process = %+v, %t, %v", got, quiet, err)
		}
		s = again
	}
	one("starting again")

	// With another ttl it has to be another lease, and the one before goes.
	l, quiet, err := s.Refresh(t.Context(), l, 2*time.Hour)
	if _, now, _ := seen.get(key); err != nil || quiet || now == id || len(seen.leases()) != 1 {
		t.Errorf("Refresh with another ttl: %t, %v; etcd has %v", quiet, err, seen.leases())
	}
	if err := s.Delete(t.Context(), l); err != nil || len(seen.leases()) != 0 {
		t.Errorf("Delete: %v; etcd has the leases %v", err, seen.leases())
	}
}

// What a mirror has copied is tied to the mirror's lease, which may end.
func TestAKeyIsTiedToNobodyElsesEtcdLease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(context.Context, *Store, subnet.Lease) (subnet.Lease, error)
	}{
		{"Create", func(ctx context.Context, s *Store, l subnet.Lease) (subnet.Lease, error) {
			return s.Create(ctx, l, time.Hour)
		}},
		{"Renew", func(ctx context.Context, s *Store, l subnet.Lease) (subnet.Lease, error) {
			return s.Renew(ctx, l, l, time.Hour)
		}},
		{"Refresh", func(ctx context.Context, s *Store, l subnet.Lease) (subnet.Lease, error) {
			l, quiet, err := s.Refresh(ctx, l, time.Hour)
			if quiet {
				err = errors.New("quiet")
			}
			return l, err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, seen := startSeen(t, Options{})
			l := lease(1)
			key := s.leaseKey(l.Key())
			theirs := seen.grant(time.Hour)
			if tt.name == "Renew" { // a mirror's, of another process than the host's
				copied := l
				copied.Mirror = "v2"
				other := newTestStore(t, Options{Endpoints: seen.Endpoints(), Prefix: "/net"}, defaults(0))
				if _, err := other.Create(t.Context(), copied, time.Hour); err != nil {
					t.Fatal(err)
				}
				_, theirs, _ = seen.get(key)
			}
			seen.put(key, encoded(t, l), theirs)
			seen.put(key+"-other", "x", theirs)
			_, _, rev := seen.get(key)
			l.Rev = subnet.Revision(rev)
			l, err := tt.do(t.Context(), s, l)
			if err != nil || time.Until(l.Expires) < 59*time.Minute {
				t.Fatalf("%+v, %v", l, err)
			}
			if _, id, _ := seen.get(key); id == theirs || id == 0 {
				t.Errorf("the key is tied to %x, the stranger's is %x", id, theirs)
			}
			if _, id, _ := seen.get(key + "-other"); id != theirs {
				t.Error("the stranger's other key is gone")
			}
			if _, quiet, err := s.Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
				t.Errorf("Refresh afterwards: %t, %v", quiet, err)
			}
		})
	}
}

// Somebody who writes our key with a lease of his own may let it end at any time: our
// holder is to hurry.
func TestAKeyOfOursThatIsTiedToAnothersLeaseMayEndAtAnyTime(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	l, peer := mustCreate(t, s, 1), lease(2)
	theirs := seen.grant(time.Hour)
	seen.put(s.leaseKey(l.Key()), encoded(t, l), theirs)
	seen.put(s.leaseKey(peer.Key()), encoded(t, peer), theirs)
	all, _, err := s.Leases(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("Leases = %v, %v", all, err)
	}
	for _, got := range all {
		left := time.Until(got.Expires)
		if got.Key() == l.Key() && left > 0 || got.Key() == peer.Key() && left < 23*time.Hour {
			t.Errorf("%s lives for %v", got.Key(), left)
		}
	}
}

// The original renews with a new lease, and leaves the one before to expire.
func TestARenewalOfTheOriginalsIsNoChange(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	const value = `{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`
	seen.put("/net/subnets/10.5.9.0-24", value, seen.grant(24*time.Hour))
	all, rev, err := s.Leases(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	seen.put("/net/subnets/10.5.9.0-24", value, seen.grant(24*time.Hour))
	for e, err := range s.Watch(t.Context(), rev) {
		if err != nil || e.Deleted || !e.Lease.Same(all[0]) {
			t.Errorf("event is %+v, %v; want what %+v says", e, err, all[0])
		}
		break
	}
	v := subnet.NewView()
	v.Reset(subnet.Snapshot{Leases: all, Rev: rev})
	woken := wake.New()
	v.Subscribe(woken)
	for e := range s.Watch(t.Context(), rev) {
		v.Apply(e)
		break
	}
	select {
	case <-woken:
		t.Error("a renewal makes a backend look")
	default:
	}
}

// An etcd lease may have gone, and its key not yet, or no more.
func TestAnEtcdLeaseThatHasGone(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	l := mustCreate(t, s, 1)
	key := s.leaseKey(l.Key())
	_, id, _ := seen.get(key)
	if _, err := seen.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Refresh(t.Context(), l, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Refresh of what expired: %v, want ErrLost", err)
	}
	if l, err := s.Create(t.Context(), l, time.Hour); err != nil || time.Until(l.Expires) < 59*time.Minute {
		t.Errorf("Create again = %+v, %v", l, err)
	}
}

func TestMarksAreOfNodesAndNeverZero(t *testing.T) {
	t.Parallel()
	g := newGrants(nil)
	for _, node := range []string{"", "a", lease(1).Node, lease(2).Node} {
		m := mark(node)
		if m <= 0 || m<<32 != 0 {
			t.Errorf("mark(%q) = %x, want a positive upper half", node, m)
		}
		if got := g.ours(m|5, node); got != (node != "") {
			t.Errorf("the mark of %q is its own: %t", node, got)
		}
		if g.ours(m|5, "other") {
			t.Errorf("the mark of %q is another's", node)
		}
	}
}

// A leader that was stopped, and has been replaced meanwhile, answers what had come before
// it learns that: its renewal is nobody's.
func TestALeaseIsKeptByTheLeaderAlone(t *testing.T) {
	t.Parallel()
	l := lease(1)
	id := mark(l.Node) | 7
	var term atomic.Uint64
	f := serve(t, func(method string, send func([]byte) error, _ grpc.ServerStream) error {
		h := header(5)
		switch method {
		case "LeaseKeepAlive":
			return send(marshal(t, &pb.LeaseKeepAliveResponse{Header: h, ID: id, TTL: 3600}))
		case "Range":
			h.RaftTerm = term.Load()
			return send(marshal(t, &pb.RangeResponse{Header: h, Count: 1, Kvs: []*mvccpb.KeyValue{
				{Key: []byte("/net/subnets/10.5.1.0-24"), Value: []byte(encoded(t, l)), Lease: id, CreateRevision: 3, ModRevision: 4, Version: 1}}}))
		}
		return status.Error(codes.Unimplemented, method)
	})
	term.Store(header(5).RaftTerm)
	if _, quiet, err := f.store(t).Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
		t.Errorf("by the leader: quiet %t, %v", quiet, err)
	}
	term.Add(1)
	if _, _, err := f.store(t).Refresh(t.Context(), l, time.Hour); !errors.Is(err, errDeposed) {
		t.Errorf("by one that is no more: %v", err)
	}
}
