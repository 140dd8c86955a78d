package etcd2

import (
	"context"
	"errors"
	"hash/maphash"
	"path"
	"slices"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

// read gets a key with a quorum: a member that is cut off answers others from
// its past. The context is a bound one.
func (s *Store) read(ctx context.Context, keys client.KeysAPI, key string, recursive bool) (*client.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.explain(ctx, err)
	}
	r, err := keys.Get(ctx, key, &client.GetOptions{Quorum: true, Recursive: recursive})
	if err == nil {
		err = checkNode(r)
	}
	return r, s.explain(ctx, err)
}

// checkNode finds answers that are JSON and not etcd's.
func checkNode(r *client.Response) error {
	if r.Node == nil || r.Node.ModifiedIndex == 0 || slices.Contains(r.Node.Nodes, nil) {
		return errNoNode
	}
	return nil
}

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (config.Document, error) {
	doc, _, err := s.config(ctx)
	return doc, err
}

// config also returns the store's revision at the time of reading.
func (s *Store) config(ctx context.Context) (config.Document, subnet.Revision, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	r, err := s.read(ctx, s.keys, s.configKey(), false)
	if e, ok := apiError(err, client.ErrorCodeKeyNotFound); ok {
		at := subnet.Revision(e.Index)
		return config.Document{Rev: at}, at, &noConfig{e}
	}
	if err != nil {
		return config.Document{}, 0, err
	}
	return config.Document{Raw: []byte(r.Node.Value), Rev: subnet.Revision(r.Node.ModifiedIndex)}, subnet.Revision(r.Index), nil
}

// noConfig prints as etcd's error, which people search their logs for, and is
// config.ErrNone.
type noConfig struct{ err error }

func (e *noConfig) Error() string   { return e.err.Error() }
func (e *noConfig) Unwrap() []error { return []error{config.ErrNone, e.err} }

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	r, err := s.read(ctx, s.keys, s.subnetsKey(), true)
	if e, ok := apiError(err, client.ErrorCodeKeyNotFound); ok {
		return nil, subnet.Revision(e.Index), nil
	}
	if err != nil {
		return nil, 0, err
	}
	s.cluster.Store(r.ClusterID)
	leases := make([]subnet.Lease, 0, len(r.Node.Nodes))
	for _, n := range r.Node.Nodes {
		if l, ok := s.lease(n); ok {
			leases = append(leases, l)
		}
	}
	return leases, subnet.Revision(r.Index), nil
}

// lease reads a node; what is none is logged once per content.
func (s *Store) lease(n *client.Node) (subnet.Lease, bool) {
	l, err := wire.Decode(path.Base(n.Key), n.Value)
	if n.Dir {
		err = errors.New("it is a directory")
	}
	if err != nil {
		s.ignore(n, err)
		return subnet.Lease{}, false
	}
	return stamp(l, n), true
}

// maxJunk bounds what is remembered of keys that are no leases.
const maxJunk = 1000

func (s *Store) ignore(n *client.Node, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value := maphash.String(s.seed, n.Value)
	was, known := s.junk[n.Key]
	switch {
	case known && was == value:
	case !known && len(s.junk) == maxJunk:
		s.junk[""] = 0 // which is no key: one more, so this is said once
		s.log.Warn("Ignoring more keys that are no leases than can be named", "named", maxJunk)
	case known || len(s.junk) < maxJunk:
		s.junk[n.Key] = value
		s.log.Warn("Ignoring a key that is no lease", "key", n.Key, "err", reason)
	}
}

// stamp adds to a lease what the node knows.
func stamp(l subnet.Lease, n *client.Node) subnet.Lease {
	l.Rev = subnet.Revision(n.ModifiedIndex)
	l.Expires = time.Time{}
	if n.Expiration != nil {
		l.Expires = *n.Expiration
	}
	return l
}
