package etcd3

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/subnet"
)

// grant is one of etcd's leases, as it was found or made.
type grant struct {
	id      int64
	asked   time.Duration // how long it was to live: etcd grants no less than some seconds
	expires time.Time     // at the earliest, by this host's clock: etcd counts from later on
}

// grants makes etcd's leases for a host's keys, and knows which ones are the host's, also
// those of the process before this one: half of an id is made of the node's. What somebody
// else has granted is not kept alive: its owner may mean it to end, and end others' keys
// with it. Safe for concurrent use.
type grants struct {
	api *api

	mu    sync.Mutex
	made  map[int64]grant   // and kept, in this process
	nodes map[string]string // whose a key is that was tied to one of them
}

// mostGrants bounds what is remembered: a daemon has one key, and a mirror all.
const mostGrants = 1 << 16

func newGrants(a *api) *grants {
	return &grants{api: a, made: make(map[int64]grant), nodes: make(map[string]string)}
}

// errDeposed: a lease was kept alive by a leader that may have been one no more.
var errDeposed = errors.New("etcd has another leader since")

func (g *grants) know(l grant) grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.made) >= mostGrants {
		clear(g.made)
	}
	g.made[l.id] = l
	return l
}

func (g *grants) find(id int64) (grant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.made[id]
	return l, ok
}

// tie takes note that a host's key is tied to one of its grants.
func (g *grants) tie(key, node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.nodes) >= mostGrants {
		clear(g.nodes)
	}
	g.nodes[key] = node
}

// expires returns when a host's key ends that is tied to an etcd lease; zero: never. How
// long others' live is not asked, which would be a request per key: other hosts' end
// in a day at the latest, and a key of ours that somebody has tied to another lease than
// ours may end at any time.
func (g *grants) expires(key string, id int64, node string) time.Time {
	l, known := g.find(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case id == 0:
		return time.Time{}
	case known:
		return l.expires
	case node != "" && g.nodes[key] == node && id>>32<<32 != mark(node):
		return time.Now()
	}
	return time.Now().Add(subnet.DefaultTTL)
}

// mark is the upper half of the ids that a node gives. An id is positive.
func mark(node string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node)) // it does not fail
	return int64(h.Sum32()>>1|1) << 32
}

// ours reports whether a host has granted an etcd lease.
func (g *grants) ours(id int64, node string) bool {
	_, made := g.find(id)
	return made || node != "" && id>>32<<32 == mark(node)
}

// make grants a lease. Twice is once: the id is chosen here.
func (g *grants) make(ctx context.Context, node string, ttl time.Duration) (grant, error) {
	id := mark(node) | int64(rand.Uint32())
	sent := time.Now()
	l := grant{id: id, asked: ttl, expires: sent.Add(ttl)}
	err := g.api.ask(ctx, func(ctx context.Context, m *member) error {
		r, err := m.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: int64(ttl / time.Second)})
		switch err = rpctypes.Error(err); {
		case apiError(err, rpctypes.ErrLeaseExist): // a try before this one, whose answer was lost
			return nil
		case err != nil:
			return err
		case r.GetID() != id || r.GetTTL() <= 0:
			return errNotEtcd
		}
		l.expires = sent.Add(time.Duration(r.TTL) * time.Second)
		return sound(r.Header)
	})
	if err != nil {
		return grant{}, err
	}
	return g.know(l), nil
}

// keep gives a lease all of its time again. It wakes nobody.
//
// A member that was stopped, and is the leader no more, says that it has done so before it
// knows: etcd before 3.5.11 does not ask whether it leads still, and later ones not at the
// moment when they go on. So a key, which this host may read, is read after it: that answer
// is the cluster's, and is of a later term then.
func (g *grants) keep(ctx context.Context, id int64, key string) (grant, error) {
	was, known := g.find(id)
	var l grant
	err := g.api.ask(ctx, func(ctx context.Context, m *member) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // the stream is for one answer
		sent := time.Now()
		stream, err := m.lease.LeaseKeepAlive(clientv3.WithRequireLeader(ctx))
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil && err != io.EOF { //nolint:errorlint // gRPC's is bare, and Recv has the reason
			return err
		}
		r, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case r.GetID() != id:
			return errNotEtcd
		case r.GetTTL() <= 0:
			return rpctypes.ErrLeaseNotFound
		}
		after, err := m.kv.Get(ctx, key, clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		if after.Header.GetRaftTerm() != r.Header.GetRaftTerm() {
			return errDeposed
		}
		ttl := time.Duration(r.TTL) * time.Second
		l = grant{id: id, asked: ttl, expires: sent.Add(ttl)}
		return sound(r.Header)
	})
	if err != nil {
		return grant{}, err
	}
	if known {
		l.asked = was.asked
	}
	return g.know(l), nil
}

// ends asks when a lease ends.
func (g *grants) ends(ctx context.Context, id int64) (at time.Time, err error) {
	err = g.api.ask(ctx, func(ctx context.Context, m *member) error {
		r, err := m.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
		switch {
		case err != nil:
			return rpctypes.Error(err)
		case r.GetID() != id:
			return errNotEtcd
		}
		at = time.Now().Add(max(time.Duration(r.GetTTL()), 0) * time.Second) // -1: it has ended
		return sound(r.Header)
	})
	return at, err
}

// revoke ends a lease that no key needs. A failure is not worth another try: it expires.
func (g *grants) revoke(ctx context.Context, id int64) {
	_ = g.api.ask(ctx, func(ctx context.Context, m *member) error {
		_, err := m.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
		return err
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.made, id)
}
