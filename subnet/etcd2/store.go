// Package etcd2 keeps leases in etcd through its v2 API. It decides what the
// client's answers mean (which is often not what they say); it does not know
// what a lease is good for. The facts it rests on were measured on servers
// 2.2 to 3.5.
package etcd2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// Options says how etcd is reached.
type Options struct {
	Endpoints                 []string      // client URLs
	Prefix                    string        // of all keys, such as "/coreos.com/network"
	Username, Password        string        // basic auth if Username is set
	CertFile, KeyFile, CAFile string        // TLS; empty: none, and the system's roots
	Timeout                   time.Duration // of every call but a watch; zero: 8 s
	Log                       *slog.Logger
}

// defaultTimeout is longer than the 7 s after which a member without a leader
// answers.
const defaultTimeout = 8 * time.Second

// Store implements subnet.Store.
type Store struct {
	keys   client.KeysAPI
	opts   Options
	prefix string
	log    *slog.Logger

	mu   sync.Mutex
	junk map[string]string // value by key of what was logged as no lease
}

// New returns a Store. It does not talk to etcd yet.
func New(o Options) (*Store, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	c, _, err := connect(o)
	if err != nil {
		return nil, err
	}
	return &Store{
		keys: client.NewKeysAPI(c), opts: o, prefix: path.Join("/", o.Prefix),
		log: o.Log, junk: make(map[string]string),
	}, nil
}

func (s *Store) configKey() string  { return path.Join(s.prefix, "config") }
func (s *Store) subnetsKey() string { return path.Join(s.prefix, "subnets") }
func (s *Store) leaseKey(k subnet.Key) string {
	return path.Join(s.subnetsKey(), wire.Key(k))
}

// get reads a key with a quorum, within the deadline.
func (s *Store) get(ctx context.Context, key string, recursive bool) (*client.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	r, err := s.keys.Get(ctx, key, &client.GetOptions{Quorum: true, Recursive: recursive})
	if err == nil && r.Node == nil {
		err = errNoNode
	}
	return r, explain(err)
}

// Config implements subnet.Store.
func (s *Store) Config(ctx context.Context) (subnet.Document, error) {
	doc, _, err := s.config(ctx)
	return doc, err
}

// config also returns the store's revision at the time of reading.
func (s *Store) config(ctx context.Context) (subnet.Document, subnet.Revision, error) {
	r, err := s.get(ctx, s.configKey(), false)
	if e, ok := apiError(err, client.ErrorCodeKeyNotFound); ok {
		at := subnet.Revision(e.Index)
		return subnet.Document{Rev: at}, at, &noConfig{err}
	}
	if err != nil {
		return subnet.Document{}, 0, err
	}
	return subnet.Document{Raw: []byte(r.Node.Value), Rev: subnet.Revision(r.Node.ModifiedIndex)}, subnet.Revision(r.Index), nil
}

// noConfig prints as etcd's error, which people search their logs for, and is
// subnet.ErrNoConfig.
type noConfig struct{ err error }

func (e *noConfig) Error() string   { return e.err.Error() }
func (e *noConfig) Unwrap() []error { return []error{subnet.ErrNoConfig, e.err} }

// Leases implements subnet.Store.
func (s *Store) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	r, err := s.get(ctx, s.subnetsKey(), true)
	if e, ok := apiError(err, client.ErrorCodeKeyNotFound); ok {
		return nil, subnet.Revision(e.Index), nil
	}
	if err != nil {
		return nil, 0, err
	}
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
	name := path.Base(n.Key)
	l, err := wire.Decode(name, n.Value)
	if n.Dir {
		err = errors.New("it is a directory")
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if was, ok := s.junk[n.Key]; !ok || was != n.Value {
			if len(s.junk) >= maxJunk {
				clear(s.junk)
			}
			s.junk[n.Key] = n.Value
			s.log.Warn("Ignoring a key that is no lease", "key", n.Key, "err", err)
		}
		return subnet.Lease{}, false
	}
	return stamp(l, n), true
}

// maxJunk bounds what is remembered of keys that are no leases.
const maxJunk = 1000

// stamp adds to a lease what the node knows.
func stamp(l subnet.Lease, n *client.Node) subnet.Lease {
	l.Rev = subnet.Revision(n.ModifiedIndex)
	l.Expires = time.Time{}
	if n.Expiration != nil {
		l.Expires = *n.Expiration
	}
	return l
}

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, err
	}
	n, err := s.set(ctx, l, value, &client.SetOptions{PrevExist: client.PrevNoExist, TTL: seconds(ttl)})
	if _, ok := apiError(err, client.ErrorCodeNodeExist); ok {
		// The client tries again by itself: the key may be our own work.
		return s.readBack(ctx, l, value, 0, subnet.ErrTaken)
	}
	if err != nil {
		return l, fmt.Errorf("create lease %s: %w", l.Key(), err)
	}
	return stamp(l, n), nil
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, err
	}
	n, err := s.set(ctx, l, value, &client.SetOptions{PrevIndex: uint64(l.Rev), TTL: seconds(ttl)})
	if _, ok := apiError(err, client.ErrorCodeTestFailed, client.ErrorCodeKeyNotFound); ok {
		return s.readBack(ctx, l, value, l.Rev, subnet.ErrLost)
	}
	if err != nil {
		return l, fmt.Errorf("renew lease %s: %w", l.Key(), err)
	}
	return stamp(l, n), nil
}

func (s *Store) set(ctx context.Context, l subnet.Lease, value string, o *client.SetOptions) (*client.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	r, err := s.keys.Set(ctx, s.leaseKey(l.Key()), value, o)
	if err == nil && r.Node == nil {
		err = errNoNode
	}
	if err != nil {
		return nil, explain(err)
	}
	return r.Node, nil
}

// readBack settles a refused write: if the key holds exactly our value, written
// after rev, the write was done by an attempt whose answer was lost.
func (s *Store) readBack(ctx context.Context, l subnet.Lease, value string, rev subnet.Revision, refused error) (subnet.Lease, error) {
	r, err := s.get(ctx, s.leaseKey(l.Key()), false)
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return l, fmt.Errorf("write lease %s: %w", l.Key(), refused)
	}
	if err != nil {
		return l, fmt.Errorf("read lease %s back: %w", l.Key(), err)
	}
	if r.Node.Value == value && subnet.Revision(r.Node.ModifiedIndex) > rev {
		return stamp(l, r.Node), nil
	}
	return l, fmt.Errorf("write lease %s: %w", l.Key(), refused)
}

// Delete implements subnet.Store. A compareAndDelete would be exact, and wedges
// every release before 0.14.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	key := s.leaseKey(l.Key())
	r, err := s.get(ctx, key, false)
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return nil
	}
	if err == nil && subnet.Revision(r.Node.ModifiedIndex) != l.Rev {
		err = subnet.ErrLost
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		defer cancel()
		_, err = s.keys.Delete(ctx, key, nil)
		err = explain(err)
		if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete lease %s: %w", l.Key(), err)
	}
	return nil
}

// seconds rounds a ttl to what etcd takes: whole seconds, and at least one,
// since zero means never.
func seconds(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return 0
	}
	return max(ttl.Round(time.Second), time.Second)
}
