// Package etcd3 keeps leases in etcd through its v3 API. It decides what etcd's answers
// mean, and which of etcd's own leases a key is tied to (a grant, here: it ends keys that
// nobody keeps alive); it does not know what a lease of ours is good for, nor how an
// endpoint is reached.
package etcd3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

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
	grpc []grpc.DialOption                                                    // of tests
}

// Store implements subnet.Store.
type Store struct {
	api     *api
	dialer  *etcd.Dialer
	writer  *writer
	junk    *etcd.Junk
	prefix  string
	cluster atomic.Uint64 // the one that the leases were last read from; zero: not known
}

var _ subnet.Store = (*Store)(nil)

// New returns a Store. It does not talk to etcd yet. Close it.
func New(o Options) (*Store, error) { return newStore(o, defaults(o.Timeout)) }

func newStore(o Options, t timing) (*Store, error) {
	dialer := etcd.NewDialer(t.dial, o.dial)
	a, err := newAPI(o, dialer, t)
	if err != nil {
		return nil, err
	}
	return &Store{
		api: a, dialer: dialer, writer: newWriter(a), junk: etcd.NewJunk(o.Log),
		prefix: path.Join("/", o.Prefix),
	}, nil
}

// Close ends all connections, and what is asked by them.
func (s *Store) Close() { s.api.members.close() }

// Moved is called when the host has lost an address: connections from it are closed.
func (s *Store) Moved() { s.dialer.Moved() }

// Tried returns the addresses that etcd was looked for at lately, with or without success.
func (s *Store) Tried() []netip.Addr { return s.dialer.Tried() }

func (s *Store) configKey() string { return etcd.ConfigKey(s.prefix) }

// subnetsKey is what all keys of leases begin with. Releases of the original leave the
// last slash out; what lies below such a prefix only is no lease of anybody's.
func (s *Store) subnetsKey() string { return path.Join(s.prefix, "subnets") + "/" }

func (s *Store) leaseKey(k subnet.Key) string { return s.subnetsKey() + wire.Key(k) }

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (config.Document, error) {
	doc, _, err := s.config(ctx)
	return doc, err
}

// errNoConfig has the words of the releases that speak this API.
const errNoConfig = "flannel config not found in etcd store. Did you create your config using etcdv3 API?"

// config also returns the store's revision at the time of reading.
func (s *Store) config(ctx context.Context) (config.Document, subnet.Revision, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	r, err := s.api.get(ctx, s.configKey())
	if err != nil {
		return config.Document{}, 0, err
	}
	at := subnet.Revision(r.Header.Revision)
	if len(r.Kvs) == 0 {
		return config.Document{Rev: at}, at, &etcd.Failure{Text: errNoConfig, Causes: []error{config.ErrNone}}
	}
	// What is there and empty is not nil, as what is not there.
	return config.Document{Raw: append([]byte{}, r.Kvs[0].Value...), Rev: subnet.Revision(r.Kvs[0].ModRevision)}, at, nil
}

// WriteConfig writes the configuration if that is still the document was, or if there is
// still none and was has no content. Else it returns subnet.ErrLost.
func (s *Store) WriteConfig(ctx context.Context, was config.Document, raw []byte) error {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	var found *mvccpb.KeyValue
	if was.Raw != nil {
		found = &mvccpb.KeyValue{Value: was.Raw, ModRevision: int64(was.Rev)}
	}
	_, err := s.writer.swap(ctx, s.configKey(), found, clientv3.OpPut(s.configKey(), string(raw)))
	if errors.Is(err, errChanged) {
		return fmt.Errorf("%w: the configuration has changed", subnet.ErrLost)
	}
	return err
}

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	r, err := s.api.get(ctx, s.subnetsKey(), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	s.cluster.Store(r.Header.ClusterId)
	leases := make([]subnet.Lease, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		if l, ok := s.lease(kv); ok {
			leases = append(leases, l)
		}
	}
	return leases, subnet.Revision(r.Header.Revision), nil
}

// Value returns what lies in a lease's key, as it is; subnet.ErrLost: the key is gone.
func (s *Store) Value(ctx context.Context, k subnet.Key) (string, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	kv, err := s.writer.read(ctx, s.leaseKey(k))
	switch {
	case err != nil:
		return "", err
	case kv == nil:
		return "", fmt.Errorf("read lease %s: %w", k, subnet.ErrLost)
	}
	return string(kv.Value), nil
}

// lease reads a key. One that is no lease is logged once per content.
func (s *Store) lease(kv *mvccpb.KeyValue) (subnet.Lease, bool) {
	l, err := decode(s.subnetsKey(), kv)
	if err != nil {
		s.junk.Ignore(string(kv.GetKey()), string(kv.GetValue()), err)
		return subnet.Lease{}, false
	}
	return s.writer.stamp(l, kv), true
}

// decode reads a key below the one of all leases.
func decode(below string, kv *mvccpb.KeyValue) (subnet.Lease, error) {
	name, ok := strings.CutPrefix(string(kv.GetKey()), below)
	if !ok {
		return subnet.Lease{}, errors.New("it is not where leases are")
	}
	return wire.Decode(name, string(kv.GetValue()))
}

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.put(ctx, "create", l, ttl, s.writer.create)
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	return s.put(ctx, "renew", l, ttl, func(ctx context.Context, e entry) (*mvccpb.KeyValue, error) {
		return s.writer.replace(ctx, e, int64(was.Rev), func(kv *mvccpb.KeyValue) bool { return s.holds(kv, was) })
	})
}

// holds reports whether a key is as it was when the lease was read.
func (s *Store) holds(kv *mvccpb.KeyValue, was subnet.Lease) bool {
	l, err := decode(s.subnetsKey(), kv)
	return err == nil && kv.ModRevision == int64(was.Rev) && l.Same(was)
}

// Refresh implements subnet.Store.
func (s *Store) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (refreshed subnet.Lease, quiet bool, err error) {
	refreshed, err = s.put(ctx, "refresh", l, ttl, func(ctx context.Context, e entry) (kv *mvccpb.KeyValue, err error) {
		if e.ttl == 0 {
			return nil, errors.New("it needs a ttl")
		}
		kv, quiet, err = s.writer.refresh(ctx, e)
		return kv, err
	})
	return refreshed, quiet, err
}

// put returns a lease as write has left it in its key. The verb is for the error.
func (s *Store) put(ctx context.Context, verb string, l subnet.Lease, ttl time.Duration, write func(context.Context, entry) (*mvccpb.KeyValue, error)) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, err
	}
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	kv, err := write(ctx, entry{key: s.leaseKey(l.Key()), value: value, node: owner(l), ttl: subnet.Seconds(ttl)})
	if err != nil {
		return l, fmt.Errorf("%s lease %s: %w", verb, l.Key(), err)
	}
	return s.writer.stamp(l, kv), nil
}

// Expiry returns when a lease expires, which a listing does not say; zero: never. It
// returns subnet.ErrLost if the key says something else now.
func (s *Store) Expiry(ctx context.Context, l subnet.Lease) (time.Time, error) {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	kv, err := s.writer.read(ctx, s.leaseKey(l.Key()))
	switch {
	case err != nil:
		return time.Time{}, err
	case kv == nil || !s.holds(kv, l):
		return time.Time{}, fmt.Errorf("ask how long lease %s lives: %w", l.Key(), subnet.ErrLost)
	case kv.Lease == 0:
		return time.Time{}, nil
	}
	return s.writer.grants.ends(ctx, kv.Lease)
}

// Delete implements subnet.Store.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	ctx, cancel := s.api.bound(ctx)
	defer cancel()
	err := s.writer.delete(ctx, s.leaseKey(l.Key()), owner(l), func(kv *mvccpb.KeyValue) bool { return s.holds(kv, l) })
	if err != nil {
		return fmt.Errorf("delete lease %s: %w", l.Key(), err)
	}
	return nil
}

// owner returns the node id of who keeps a lease's key alive: its host, and of a copy the
// mirror. A host that takes a copy over must not take the mirror's grant for its own.
func owner(l subnet.Lease) string {
	if l.Mirror != "" {
		return "the mirror of " + l.Mirror
	}
	return l.Node
}
