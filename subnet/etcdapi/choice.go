// Package etcdapi decides which of etcd's two APIs a network lies in, whose key spaces are
// apart. It does not know how either is spoken, nor what a lease is good for: the stores
// are values.
package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// API is one of etcd's.
type API string

// The APIs. Releases of flanneld before 0.18 speak v2 only, later ones v3 only.
const (
	V2 API = "v2"
	V3 API = "v3"
)

// Store is one that lies in etcd. It may have a method Close, which ends its connections.
type Store interface {
	subnet.Store
	Moved()              // the host has lost an address
	Tried() []netip.Addr // where etcd was looked for lately
}

// Options are what a Choice is made from.
type Options struct {
	V2, V3    Store  // without V3 the choice is V2
	API       API    // which it is; empty: to be found out
	Last      API    // which it was when this host last ran; empty: not known
	Prefix    string // of all keys
	RefusedV3 error  // why V3 may not be used, if it is found out to be the one; nil: it may
	Log       *slog.Logger
}

// Choice is the store of the API in which the network's configuration lies. Until that is
// found out, Config says that there is none, AwaitConfig waits for whichever has one
// first, and all else tries to find out. What is found out is so for the Choice's life:
// the leases of one network must not lie in two places.
type Choice struct {
	Options

	mu    sync.Mutex
	api   API            // empty: not known yet
	spare Store          // the other one; nil: it is not needed any more
	heard map[API]answer // the last ones, while it is not known
}

var _ subnet.Store = (*Choice)(nil)

// New returns a Choice. It asks etcd for nothing yet.
func New(o Options) *Choice {
	c := &Choice{Options: o, heard: make(map[API]answer)}
	switch {
	case o.V3 == nil:
		c.api = V2
	case o.API != "":
		c.settle(o.API, "--etcd-api asks for it")
	}
	return c
}

// Decided returns the API; empty: it is not known yet.
func (c *Choice) Decided() API {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.api
}

// Resume makes the API that which this host used when it last ran, as etcd does not say.
// It returns an error if it is another one.
func (c *Choice) Resume(last API) error {
	if last != V2 && c.V3 == nil {
		return fmt.Errorf("it is of etcd's %s API, which this flanneld was built without", last)
	}
	if api := c.settle(last, "this host used it when it last ran"); api != last {
		return fmt.Errorf("it is of etcd's %s API, and this daemon uses %s", last, api)
	}
	return nil
}

// settle makes an API the one, unless there is one, and returns that.
func (c *Choice) settle(api API, why string) API {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api == "" {
		c.api, c.spare = api, c.of(other(api))
		c.Log.Info("Using etcd's "+string(api)+" API: "+why, "prefix", c.Prefix)
	}
	return c.api
}

func other(api API) API {
	if api == V2 {
		return V3
	}
	return V2
}

// of returns the store of an API.
func (c *Choice) of(api API) Store {
	if api == V3 {
		return c.V3
	}
	return c.V2
}

// store returns the store of the API, which it finds out if it is not known.
func (c *Choice) store(ctx context.Context) (subnet.Store, error) {
	api := c.Decided()
	if api == "" {
		if _, err := c.decide(ctx, false); err != nil {
			return nil, err
		}
		api = c.Decided()
	}
	return c.of(api), nil
}

// Config implements subnet.Store.
func (c *Choice) Config(ctx context.Context) (config.Document, error) {
	api := c.Decided()
	if api == "" {
		return c.decide(ctx, false)
	}
	doc, err := c.of(api).Config(ctx)
	return doc, c.found(ctx, api, err)
}

// AwaitConfig implements subnet.Store.
func (c *Choice) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	pauses := map[API]*backoff.Backoff{V2: {Max: againAfter}, V3: {Max: againAfter}}
	for {
		if api := c.Decided(); api != "" {
			doc, err := c.of(api).AwaitConfig(ctx, after)
			return doc, c.found(ctx, api, err)
		}
		if err := c.await(ctx, pauses); err != nil {
			return config.Document{}, err
		}
		doc, err := c.decide(ctx, true)
		if !errors.Is(err, config.ErrNone) {
			return doc, err
		}
	}
}

// await waits until one of the stores may have a configuration, or until it is time to
// ask again one that has not answered.
func (c *Choice) await(ctx context.Context, pauses map[API]*backoff.Backoff) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for _, api := range []API{V2, V3} {
		c.mu.Lock()
		last := c.heard[api]
		c.mu.Unlock()
		if last.lacking() {
			continue // Config is called again now and then
		}
		all.Go(func() {
			defer cancel()
			err := last.err
			if last.none() {
				_, err = c.of(api).AwaitConfig(wait, last.doc.Rev)
			}
			if err != nil && !errors.Is(err, config.ErrNone) {
				_ = pauses[api].Wait(wait)
			}
		})
	}
	all.Wait()
	return ctx.Err()
}

// Leases implements subnet.Store.
func (c *Choice) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	s, err := c.store(ctx)
	if err != nil {
		return nil, 0, err
	}
	return s.Leases(ctx)
}

// Watch implements subnet.Store.
func (c *Choice) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	s, err := c.store(ctx)
	if err != nil {
		return func(yield func(subnet.Event, error) bool) { yield(subnet.Event{}, err) }
	}
	return s.Watch(ctx, after)
}

// Create implements subnet.Store.
func (c *Choice) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	s, err := c.store(ctx)
	if err != nil {
		return l, err
	}
	return s.Create(ctx, l, ttl)
}

// Renew implements subnet.Store.
func (c *Choice) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	s, err := c.store(ctx)
	if err != nil {
		return l, err
	}
	return s.Renew(ctx, was, l, ttl)
}

// Refresh implements subnet.Store.
func (c *Choice) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (refreshed subnet.Lease, quiet bool, err error) {
	s, err := c.store(ctx)
	if err != nil {
		return l, false, err
	}
	return s.Refresh(ctx, l, ttl)
}

// Delete implements subnet.Store.
func (c *Choice) Delete(ctx context.Context, l subnet.Lease) error {
	s, err := c.store(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, l)
}

// used returns the stores that may have connections.
func (c *Choice) used() []Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	stores := []Store{c.V2, c.V3}
	if c.api != "" {
		stores = []Store{c.of(c.api), c.spare}
	}
	return slices.DeleteFunc(stores, func(s Store) bool { return s == nil })
}

// Moved is called when the host has lost an address.
func (c *Choice) Moved() {
	for _, s := range c.used() {
		s.Moved()
	}
}

// Tried returns the addresses that etcd was looked for at lately.
func (c *Choice) Tried() []netip.Addr {
	var all []netip.Addr
	for _, s := range c.used() {
		for _, a := range s.Tried() {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// Close ends all connections.
func (c *Choice) Close() {
	for _, s := range c.used() {
		end(s)
	}
}

// end closes a store if there is something to close.
func end(s Store) {
	if open, ok := s.(interface{ Close() }); ok {
		open.Close()
	}
}
