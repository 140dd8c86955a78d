// Package etcd2 keeps leases in etcd through its v2 API. It decides what the
// client's answers mean (which is often not what they say); it does not know
// what a lease is good for, nor how an endpoint is reached. The facts it rests on
// were measured on servers 2.2 to 3.5.
package etcd2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/wire"
)

// Options say which etcd it is.
type Options struct {
	Endpoints []string // client URLs, without credentials
	Prefix    string   // of all keys, such as "/coreos.com/network"
	Access    etcd.Access
	Timeout   time.Duration // of every call but a watch; zero: 8 s
	Log       *slog.Logger

	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network's
}

// Store implements subnet.Store.
type Store struct {
	opts    Options
	times   timing
	dialer  *etcd.Dialer
	api     *api
	writer  *writer
	junk    *etcd.Junk
	prefix  string
	cluster atomic.Value // string: the cluster that the leases were last read from
}

var _ subnet.Store = (*Store)(nil)

// New returns a Store. It does not talk to etcd yet.
func New(o Options) (*Store, error) { return newStore(o, defaults(o.Timeout)) }

func newStore(o Options, t timing) (*Store, error) {
	dialer := etcd.NewDialer(t.dial, o.dial)
	a, err := connect(o, dialer, t)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: o, times: t, dialer: dialer, api: a, writer: &writer{api: a, log: o.Log}, junk: etcd.NewJunk(o.Log),
		prefix: path.Join("/", o.Prefix),
	}
	s.cluster.Store("")
	return s, nil
}

// Moved is called when the host has lost an address: connections from it are closed.
func (s *Store) Moved() { s.dialer.Moved() }

// Tried returns the addresses that etcd was looked for at lately, with or without success.
func (s *Store) Tried() []netip.Addr { return s.dialer.Tried() }

func (s *Store) configKey() string  { return etcd.ConfigKey(s.prefix) }
func (s *Store) subnetsKey() string { return path.Join(s.prefix, "subnets") }
func (s *Store) leaseKey(k subnet.Key) string {
	return path.Join(s.subnetsKey(), wire.Key(k))
}

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (config.Document, error) {
	doc, _, err := s.config(ctx)
	return doc, err
}

// config also returns the store's revision at the time of reading.
func (s *Store) config(ctx context.Context) (config.Document, subnet.Revision, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	r, err := s.api.get(ctx, s.configKey(), false)
	if e, ok := errors.AsType[client.Error](err); ok && e.Code == client.ErrorCodeKeyNotFound {
		at := subnet.Revision(e.Index)
		return config.Document{Rev: at}, at, &etcd.Failure{Text: e.Error(), Causes: []error{config.ErrNone, e}} // people search their logs for etcd's text
	}
	if err != nil {
		return config.Document{}, 0, err
	}
	return config.Document{Raw: []byte(r.Node.Value), Rev: subnet.Revision(r.Node.ModifiedIndex)}, subnet.Revision(r.Index), nil
}

// WriteConfig writes the configuration if that is still the document was, or if there is
// still none and was has no content. Else it returns subnet.ErrLost.
func (s *Store) WriteConfig(ctx context.Context, was config.Document, raw []byte) error {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	only := client.SetOptions{PrevExist: client.PrevNoExist}
	if was.Raw != nil {
		only = client.SetOptions{PrevIndex: uint64(was.Rev), PrevValue: string(was.Raw)}
	}
	_, err := s.writer.set(ctx, entry{key: s.configKey(), value: string(raw)}, only)
	if apiError(err, client.ErrorCodeNodeExist, client.ErrorCodeTestFailed, client.ErrorCodeKeyNotFound) {
		return fmt.Errorf("%w: %w", subnet.ErrLost, err)
	}
	return err
}

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	r, err := s.api.get(ctx, s.subnetsKey(), true)
	if apiError(err, client.ErrorCodeKeyNotFound) {
		return nil, subnet.Revision(r.Index), nil
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

// Value returns what lies in a lease's key, as it is; subnet.ErrLost: the key is gone.
func (s *Store) Value(ctx context.Context, k subnet.Key) (string, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	r, err := s.api.get(ctx, s.leaseKey(k), false)
	switch {
	case apiError(err, client.ErrorCodeKeyNotFound):
		return "", fmt.Errorf("read lease %s: %w", k, subnet.ErrLost)
	case err != nil:
		return "", err
	}
	return r.Node.Value, nil
}

// lease reads a node. One that is no lease is logged once per content.
func (s *Store) lease(n *client.Node) (subnet.Lease, bool) {
	l, err := wire.Decode(path.Base(n.Key), n.Value)
	if n.Dir {
		err = errors.New("it is a directory")
	}
	if err != nil {
		s.junk.Ignore(n.Key, n.Value, err)
		return subnet.Lease{}, false
	}
	return stamp(l, n), true
}

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.put(ctx, "create", l, ttl, func(ctx context.Context, e entry) (*client.Node, error) {
		return s.writer.create(ctx, e)
	})
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.put(ctx, "renew", l, ttl, func(ctx context.Context, e entry) (*client.Node, error) {
		return s.writer.replace(ctx, e, uint64(was.Rev), func(n *client.Node) bool { return holds(n, was) })
	})
}

// holds reports whether a key is as it was when the lease was read.
func holds(n *client.Node, was subnet.Lease) bool {
	l, err := wire.Decode(path.Base(n.Key), n.Value)
	return err == nil && n.ModifiedIndex == uint64(was.Rev) && l.Same(was)
}

// Refresh implements subnet.Store.
func (s *Store) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (refreshed subnet.Lease, quiet bool, err error) {
	refreshed, err = s.put(ctx, "refresh", l, ttl, func(ctx context.Context, e entry) (n *client.Node, err error) {
		if e.ttl == 0 {
			return nil, errors.New("it needs a ttl")
		}
		n, quiet, err = s.writer.refresh(ctx, e, uint64(l.Rev))
		return n, err
	})
	return refreshed, quiet, err
}

// put returns a lease as write has left it in its key. The verb is for the error.
func (s *Store) put(ctx context.Context, verb string, l subnet.Lease, ttl time.Duration, write func(context.Context, entry) (*client.Node, error)) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, err
	}
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	n, err := write(ctx, entry{s.leaseKey(l.Key()), value, subnet.Seconds(ttl)})
	if err != nil {
		return l, fmt.Errorf("%s lease %s: %w", verb, l.Key(), err)
	}
	return stamp(l, n), nil
}

// Delete implements subnet.Store. A compareAndDelete would be exact, and wedges
// every release before 0.14.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	key := s.leaseKey(l.Key())
	r, err := s.api.get(ctx, key, false)
	if err == nil && !holds(r.Node, l) {
		err = subnet.ErrLost
	}
	if err == nil {
		err = s.api.delete(ctx, key)
	}
	if err == nil || apiError(err, client.ErrorCodeKeyNotFound) {
		return nil
	}
	return fmt.Errorf("delete lease %s: %w", l.Key(), err)
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
