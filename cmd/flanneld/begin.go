package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
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

// basis is what a start goes on.
type basis struct {
	cfg   config.Config
	doc   config.Document
	known *cache.Known // nil: the store has answered
}

// begin finds out what to start from: the configuration in the store or, if the
// store does not answer soon, what this host last knew. Without either it waits,
// and calls waits with the reason.
func begin(ctx context.Context, store subnet.Store, m *memory, waits func(reason string)) (basis, error) {
	ask, cancel := context.WithCancel(ctx)
	asked := make(chan answer, 1)
	go func() {
		doc, err := store.Config(ask)
		asked <- answer{doc, err}
	}()
	first, here := answer{err: errNoAnswer(configPatience)}, false
	select {
	case first = <-asked:
		here = true
	case <-time.After(configPatience):
	case <-ctx.Done():
	}
	if first.err != nil && !errors.Is(first.err, config.ErrNone) && ctx.Err() == nil {
		if known, cfg := m.recall(first.err, nil); known != nil {
			cancel()
			return basis{cfg, known.Config, known}, nil
		}
	}
	defer cancel()
	if !here {
		first = <-asked // it ends with ctx, or at its own deadline
	}
	cfg, doc, err := documentReader(store, m.host.Prefix, m.log).Await(ctx, first.doc, first.err, waits)
	return basis{cfg: cfg, doc: doc}, err
}

// answer is what a store's Config returns.
type answer struct {
	doc config.Document
	err error
}

func errNoAnswer(within time.Duration) error {
	return fmt.Errorf("etcd has not answered within %s", within)
}

// rev returns the revision of the configuration in the store; zero if it was not
// read from there.
func (b basis) rev() subnet.Revision {
	if b.known != nil {
		return 0
	}
	return b.doc.Rev
}

// orient finds out what to start from, and with which interface.
func orient(ctx context.Context, o options.Daemon, store subnet.Store, m *memory, board *status.Board) (basis, backend.Underlay, error) {
	board.WaitForConfig("")
	once := sync.OnceFunc(func() { underlay.Preview(underlayQuery(o, false), m.log) })
	waits := func(reason string) {
		once()
		board.WaitForConfig(reason)
	}
	for {
		b, err := begin(ctx, store, m, waits)
		if err != nil {
			return b, backend.Underlay{}, err
		}
		m.log.Info("Found network config - Backend type: " + b.cfg.Type)
		u, err := underlay.Find(underlayQuery(o, b.cfg.V6.Enabled()), m.log)
		if err != nil || b.known == nil || m.isOf(b.known, u) {
			return b, u, err
		}
	}
}

func underlayQuery(o options.Daemon, v6 bool) underlay.Query {
	return underlay.Query{Names: o.Iface, Regexps: o.IfaceRegex, CanReach: o.IfaceCanReach,
		PublicIP: o.PublicIP, PublicIPv6: o.PublicIPv6, V6: v6}
}

// take takes a lease. The store has answered with the configuration, but may have
// gone since, or be overloaded by hosts that all start at once: then the lease is
// the one that is known, as if the store had never answered. The returned store is
// the one to follow.
func (d *daemon) take(ctx context.Context, store *subnet.Ahead, request *subnet.Request) (subnet.Acquired, subnet.Store, error) {
	if d.basis.known == nil {
		bound, cancel := context.WithDeadlineCause(ctx, d.began.Add(leasesPatience), errNoAnswer(leasesPatience))
		why := store.Wait(bound)
		cancel()
		if why != nil && ctx.Err() == nil {
			known, _ := d.memory.recall(why, d.basis.doc.Raw)
			if known != nil && d.memory.isOf(known, d.underlay) {
				d.basis.known = known
			}
		}
	}
	if d.basis.known == nil {
		got, err := d.acquire(ctx, store, request)
		return got, d.store, err
	}
	d.claimsChanged <- d.claimed // other flags than in the last run say other things
	d.board.SetEtcdAway(true)
	return d.memory.resume(d.basis.known), &heard{Store: d.store, hear: sync.OnceFunc(func() { d.board.SetEtcdAway(false) })}, nil
}

// heard is a store that tells when it has listed the leases.
type heard struct {
	subnet.Store
	hear func()
}

func (h *heard) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	leases, rev, err := h.Store.Leases(ctx)
	if err == nil {
		h.hear()
	}
	return leases, rev, err
}
