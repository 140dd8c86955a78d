package etcd2

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// Refresh implements subnet.Store. Etcd before 2.3 does not know what a refresh
// is and would take it for a write of an empty value.
//
// Its conditions are the value and the index. The value alone would do for the
// owner, but a member that hangs can carry out what it was sent after others have
// carried out what was sent later, and with it comes the expiry of the time when
// it was sent: the key would be gone before its holder thinks so.
func (s *Store) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, false, err
	}
	if ttl <= 0 {
		return l, false, fmt.Errorf("refresh lease %s: it needs a ttl", l.Key())
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	n, quiet, err := s.refresh(ctx, s.leaseKey(l.Key()), value, uint64(l.Rev), seconds(ttl))
	// It is ours at another index if an answer was lost, the client's second try
	// was the one that is told of, or somebody has given it another ttl.
	for range tries {
		if _, no := apiError(err, client.ErrorCodeTestFailed); !no {
			break
		}
		var r *client.Response
		if r, err = s.read(ctx, s.keys, s.leaseKey(l.Key()), false); err == nil && (r.Node.Dir || r.Node.Value != value) {
			err = subnet.ErrLost
		}
		if err == nil {
			n, quiet, err = s.refresh(ctx, s.leaseKey(l.Key()), value, r.Node.ModifiedIndex, seconds(ttl))
		}
	}
	if err = settled(err, subnet.ErrLost); err != nil {
		return l, false, fmt.Errorf("refresh lease %s: %w", l.Key(), err)
	}
	return stamp(l, n), quiet, nil
}

// refresh returns the node as it is in the end, and whether no watcher was woken.
func (s *Store) refresh(ctx context.Context, key, value string, at uint64, ttl time.Duration) (*client.Node, bool, error) {
	quiet := s.refreshes(ctx)
	o := &client.SetOptions{PrevExist: client.PrevExist, PrevValue: value, PrevIndex: at, TTL: ttl, Refresh: quiet}
	sent := value
	if quiet {
		sent = ""
	}
	r, err := s.put(ctx, key, sent, o)
	if _, no := apiError(err, client.ErrorCodeTestFailed); no {
		n, err := s.fill(ctx, key, value, ttl, err)
		return n, false, err
	}
	switch {
	case err != nil:
		return nil, false, err
	case quiet && r.Node.Value != value:
		n, err := s.writeBack(ctx, key, value, r.Node.ModifiedIndex, ttl)
		return n, false, err
	case r.PrevNode != nil && r.PrevNode.Expiration == nil:
		// Somebody has made a reservation of it, and it must not expire.
		n, err := s.set(ctx, key, value, &client.SetOptions{PrevIndex: r.Node.ModifiedIndex})
		return n, false, err
	}
	return r.Node, quiet, nil
}

// fill writes a value to a key that holds nothing, which only a refresh of ours
// can have made it hold, whose answer was lost. It returns the refusal if the key
// holds something.
func (s *Store) fill(ctx context.Context, key, value string, ttl time.Duration, refusal error) (*client.Node, error) {
	r, err := s.read(ctx, s.keys, key, false)
	if err != nil {
		return nil, err
	}
	if r.Node.Dir || r.Node.Value != "" {
		return nil, refusal
	}
	return s.writeBack(ctx, key, value, r.Node.ModifiedIndex, ttl)
}

// writeBack undoes what a refresh did to a key at an index.
func (s *Store) writeBack(ctx context.Context, key, value string, at uint64, ttl time.Duration) (*client.Node, error) {
	s.mu.Lock()
	first := !s.noRefresh
	s.noRefresh = true
	s.mu.Unlock()
	if first {
		// What answered /version and what took the write are not the same.
		s.log.Error("etcd took a refresh for a write of nothing; the lease is written back, and not refreshed any more but written. "+
			"Are there members older than 2.3, or a proxy that changes what it passes on?", "key", key)
	}
	return s.set(ctx, key, value, &client.SetOptions{PrevIndex: at, TTL: ttl})
}

// refreshes reports whether all members of the cluster are known to know
// refreshes. To write instead is right everywhere, so it is no error if that
// cannot be found out: a proxy may pass on nothing but the keys.
func (s *Store) refreshes(ctx context.Context) bool {
	s.mu.Lock()
	never := s.noRefresh
	s.mu.Unlock()
	if never || ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, s.times.call/4) // the write needs the rest
	defer cancel()
	v, err := s.client.GetVersion(ctx)
	if err != nil {
		return false
	}
	// The cluster's version is that of its oldest member.
	return atLeast(v.Cluster, 2, 3)
}

// atLeast reports whether a version such as "3.4.0" is major.minor or later. One
// that is no version is not.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(second)
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}
