// Package boot finds out what the daemon starts from: the configuration and the
// leases in the store or, if the store does not answer soon or has no configuration that
// can be used, what this host knew of the cluster when it last ran. It does not know how packets are forwarded, nor how
// the lease is held afterwards.
package boot

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

// How long the store has for its first answers, from the start on, if this host
// could do without: it is to be ready within a second.
const (
	configPatience = 500 * time.Millisecond
	leasesPatience = 700 * time.Millisecond
)

// Boot is one start of the daemon.
type Boot struct {
	Store  subnet.Store
	Reader config.Reader // of the store
	Cache  *Cache
	Waits  func(reason string) // called with the reason for which there is no usable configuration
	Began  time.Time
}

// Addrs are the addresses that this host publishes; a family without one is the zero
// Addr.
type Addrs struct{ V4, V6 netip.Addr }

// Origin is what a start goes on.
type Origin struct {
	Config   config.Config
	Document config.Document
	Known    *cache.Known // nil: all is from the store
}

// Rev returns the revision of the configuration in the store; zero if it was not
// read from there.
func (o Origin) Rev() subnet.Revision {
	if o.Known != nil {
		return 0
	}
	return o.Document.Rev
}

// Origin finds out which configuration to start with. It asks find for the addresses
// that this host publishes with it: what is known is not used by a host that has
// others now.
func (b *Boot) Origin(ctx context.Context, find func(config.Config) (Addrs, error)) (Origin, error) {
	for {
		o, err := b.config(ctx)
		if err != nil {
			return o, err
		}
		b.Reader.Log.Info("Found network config - Backend type: " + o.Config.Type)
		at, err := find(o.Config)
		if err != nil || o.Known == nil || b.Cache.fits(o.Known, at) {
			return o, err
		}
	}
}

// config returns the configuration in the store or, if the store does not answer soon or
// has none that can be used, that of the cache. Without either it waits.
func (b *Boot) config(ctx context.Context) (Origin, error) {
	ask, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		doc config.Document
		err error
	}
	asked := make(chan answer, 1)
	go func() {
		doc, err := b.Store.Config(ask)
		asked <- answer{doc, err}
	}()
	first, why := answer{err: errNoAnswer(configPatience)}, noAnswer
	select {
	case first = <-asked:
		asked <- first
	case <-time.After(configPatience):
	case <-ctx.Done():
	}
	if first.err == nil {
		cfg, err := b.Reader.Read(first.doc)
		if err == nil {
			return Origin{Config: cfg, Document: first.doc}, nil
		}
		first.err = err
	}
	if first.doc.Rev != 0 {
		why = noConfig
	}
	if ctx.Err() == nil {
		if known, cfg := b.Cache.recall(why, first.err, nil, b.Reader.Read); known != nil {
			return Origin{cfg, known.Config, known}, nil
		}
	}
	first = <-asked // it ends with ctx, or at its own deadline
	cfg, doc, err := b.Reader.Await(ctx, first.doc, first.err, b.Waits)
	return Origin{Config: cfg, Document: doc}, err
}

// Why a start goes on what was known.
const (
	noAnswer = "etcd does not answer"
	noConfig = "etcd has no configuration that can be used"
)

func errNoAnswer(within time.Duration) error {
	return fmt.Errorf("etcd has not answered within %s", within)
}

// Lease acquires a lease from the store. The store has answered with the
// configuration, but may have gone since, or be overloaded by hosts that all start at
// once: then the lease is the one that is known, which Lease writes into the origin.
func (b *Boot) Lease(ctx context.Context, o *Origin, at Addrs, acquire func(context.Context, subnet.Store) (subnet.Acquired, error)) (subnet.Acquired, error) {
	store := b.Store
	if o.Known == nil && b.Cache.exists() {
		bound, cancel := context.WithDeadlineCause(ctx, b.Began.Add(leasesPatience), errNoAnswer(leasesPatience))
		leases, rev, err := store.Leases(bound)
		if err != nil && bound.Err() != nil {
			err = context.Cause(bound)
		}
		cancel()
		if err == nil {
			listed := true // just now, which is the first answer of acquire's store
			store = listing{b.Store, func(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
				if listed {
					listed = false
					return leases, rev, nil
				}
				return b.Store.Leases(ctx)
			}}
		} else if ctx.Err() == nil {
			known, _ := b.Cache.recall(noAnswer, err, o.Document.Raw, b.Reader.Read)
			if known != nil && b.Cache.fits(known, at) {
				o.Known = known
			}
		}
	}
	if o.Known != nil {
		return b.Cache.resume(o.Known), nil
	}
	return acquire(ctx, store)
}

// listing is a store whose leases another function lists.
type listing struct {
	subnet.Store
	list func(context.Context) ([]subnet.Lease, subnet.Revision, error)
}

func (l listing) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	return l.list(ctx)
}

// Heard returns the store, and calls heard when it has listed the leases for the
// first time.
func Heard(s subnet.Store, heard func()) subnet.Store {
	once := sync.OnceFunc(heard)
	return listing{s, func(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
		leases, rev, err := s.Leases(ctx)
		if err == nil {
			once()
		}
		return leases, rev, err
	}}
}
