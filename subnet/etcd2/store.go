// Package etcd2 keeps leases in etcd through its v2 API. It decides what the
// client's answers mean (which is often not what they say); it does not know
// what a lease is good for. The facts it rests on were measured on servers
// 2.2 to 3.5.
package etcd2

import (
	"context"
	"crypto/tls"
	"hash/maphash"
	"log/slog"
	"net"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// Options says how etcd is reached. What TLS and Password return may change; both
// are asked for each connection or request.
type Options struct {
	Endpoints []string           // client URLs, without credentials
	Prefix    string             // of all keys, such as "/coreos.com/network"
	Username  string             // for basic auth; empty: none
	Password  func() string      // nil: empty
	TLS       func() *tls.Config // the same pointer while nothing has changed; nil: the system's authorities, and no certificate
	Refused   func()             // etcd has refused what TLS or Password returned, or we its certificate: look again; may be nil
	Timeout   time.Duration      // of every call but a watch; zero: 8 s
	Log       *slog.Logger

	resolver    *net.Resolver // nil: the system's
	connections *connections  // set by New
}

// Store implements subnet.Store.
type Store struct {
	client    client.Client
	keys      client.KeysAPI
	transport *transport
	probe     *probe
	opts      Options
	times     timing
	prefix    string
	log       *slog.Logger
	cluster   atomic.Value // string: the cluster that the leases were last read from

	mu        sync.Mutex
	seed      maphash.Seed
	junk      map[string]uint64 // hash of the value, by key, of what was logged as no lease
	noRefresh bool              // a refresh has emptied a key
}

var _ subnet.Store = (*Store)(nil)

// New returns a Store. It does not talk to etcd yet.
func New(o Options) (*Store, error) { return newStore(o, defaults(o.Timeout)) }

func newStore(o Options, t timing) (*Store, error) {
	o.connections = &connections{open: make(map[*connection]struct{})}
	c, tr, err := connect(o, t)
	if err != nil {
		return nil, err
	}
	s := &Store{
		client: c, keys: client.NewKeysAPI(c), transport: tr, probe: newProbe(tr, o.resolver), opts: o, times: t,
		prefix: path.Join("/", o.Prefix), log: o.Log,
		seed: maphash.MakeSeed(), junk: make(map[string]uint64),
	}
	s.cluster.Store("")
	return s, nil
}

// ConfigKey is where the configuration is, below a prefix.
func ConfigKey(prefix string) string { return path.Join("/", prefix, "config") }

func (s *Store) configKey() string  { return ConfigKey(s.prefix) }
func (s *Store) subnetsKey() string { return path.Join(s.prefix, "subnets") }
func (s *Store) leaseKey(k subnet.Key) string {
	return path.Join(s.subnetsKey(), wire.Key(k))
}

// bound gives a method its deadline. What is asked of etcd in it goes through
// explain, which knows this deadline from the caller's.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.times.call, errNoAnswer)
}
