package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/flagtable"
	"flanneld/pkg/glog"
	"flanneld/subnet"
	"flanneld/subnet/config"
	etcdkeys "flanneld/subnet/etcd"
	"flanneld/subnet/mirror"
)

// keyspace is a store of one of etcd's APIs.
type keyspace interface {
	mirror.Store
	// Value returns what lies in a lease's key, as it is.
	Value(ctx context.Context, k subnet.Key) (string, error)
}

// expirer is a keyspace whose listing does not say when leases expire.
type expirer interface {
	Expiry(ctx context.Context, l subnet.Lease) (time.Time, error)
}

// network is what etcd has of one: the keyspace and the configuration there.
type network struct {
	keyspace
	api     string
	prefix  string
	doc     config.Document // without Raw there is none
	missing error           // why there is no document; nil: there is one
	close   func()
}

// openNetwork finds out in which API the network lies, and reads its configuration. That
// there is none is no error if --etcd-api says where it would be. Close it.
func (c *call) openNetwork(ctx context.Context) (*network, error) {
	api, err := c.networkAPI(ctx)
	if err != nil {
		return nil, noNetwork(err)
	}
	return c.openIn(ctx, api)
}

// openToWrite is openNetwork, but finds the API for a configuration that there is not yet: v3,
// unless etcd has none or hosts have leases in v2. Close it.
func (c *call) openToWrite(ctx context.Context) (*network, error) {
	api, err := c.networkAPI(ctx)
	if err == nil {
		return c.openIn(ctx, api)
	}
	if _, ok := errors.AsType[*config.Missing](err); !ok {
		return nil, failed(err)
	}
	v2, err := c.openIn(ctx, options.APIv2)
	if err == nil {
		if all, _, err := v2.Leases(ctx); err == nil && len(all) > 0 {
			return v2, nil
		}
		defer v2.close()
	}
	v3, err := c.openIn(ctx, options.APIv3)
	if _, ok := errors.AsType[etcdkeys.NoAPIError](err); ok {
		return c.openIn(ctx, options.APIv2)
	}
	return v3, err
}

// networkAPI returns the API that the network lies in.
func (c *call) networkAPI(ctx context.Context) (string, error) {
	if c.etcd.API != options.APIAuto {
		return c.etcd.API, nil
	}
	choice, err := openChoice(ctx, c.etcd, "", c.fewLines())
	if err != nil {
		return "", err
	}
	defer choice.Close()
	_, err = choice.Config(ctx)
	return string(choice.Decided()), err
}

// openIn opens the network of one API.
func (c *call) openIn(ctx context.Context, api string) (*network, error) {
	at, err := endpoints(ctx, c.etcd, c.fewLines())
	if err != nil {
		return nil, failure{err, ""}
	}
	side, closed, err := open(api, c.etcd, at, c.fewLines())
	if err != nil {
		return nil, failure{err, ""}
	}
	n := &network{keyspace: side.Store.(keyspace), api: api, prefix: c.etcd.Prefix, close: closed}
	if n.doc, err = n.Config(ctx); errors.Is(err, config.ErrNone) {
		n.missing = err
	} else if err != nil {
		closed()
		return nil, failure{err, ""}
	}
	return n, nil
}

// noNetwork is the failure that no configuration is known of.
func noNetwork(err error) error {
	m, ok := errors.AsType[*config.Missing](err)
	if !ok {
		return failure{err, ""}
	}
	return failure{fmt.Errorf("there is no network: %s", m.Where),
		"check --etcd-prefix and --etcd-api; docs/configuration.md says how to write one"}
}

// fewLines is a log for what a person should know.
func (c *call) fewLines() *slog.Logger {
	if c.verbose {
		return c.log()
	}
	return slog.New(glog.New(c.stderr, slog.LevelWarn))
}

// configKey is where the configuration lies.
func (n *network) configKey() string { return etcdkeys.ConfigKey(n.prefix) }

// config returns the network's configuration; an error if it has none that can be read.
func (n *network) config() (config.Config, error) {
	if n.missing != nil {
		return config.Config{}, n.missing
	}
	cfg, _, err := config.Parse(n.doc.Raw)
	return cfg, err
}

// asksAtOnce is how many requests are under way to find out when leases expire.
const asksAtOnce = 32

// list returns all leases, sorted: etcd's v2 API has no order.
func (n *network) list(ctx context.Context) ([]subnet.Lease, error) {
	all, _, err := n.Leases(ctx)
	if err != nil {
		return nil, failure{err, ""}
	}
	slices.SortFunc(all, subnet.Lease.Compare)
	return all, nil
}

// leases returns all of them, sorted, with the times when they expire.
func (n *network) leases(ctx context.Context) ([]subnet.Lease, error) {
	all, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	x, ok := n.keyspace.(expirer)
	if !ok {
		return all, nil
	}
	asks, ctx := errgroup.WithContext(ctx)
	asks.SetLimit(asksAtOnce)
	for i := range all {
		asks.Go(func() error {
			at, err := x.Expiry(ctx, all[i])
			switch {
			case errors.Is(err, subnet.ErrLost): // it has changed meanwhile, and lives
				return nil
			case err != nil:
				return err
			}
			all[i].Expires = at
			return nil
		})
	}
	if err := asks.Wait(); err != nil {
		return nil, failure{err, ""}
	}
	return all, nil
}

// lease returns the one that a person means, with the time when it expires.
func (n *network) lease(ctx context.Context, what string) (subnet.Lease, error) {
	all, err := n.list(ctx)
	if err != nil {
		return subnet.Lease{}, err
	}
	l, err := find(all, what)
	if err != nil {
		return l, err
	}
	if x, ok := n.keyspace.(expirer); ok {
		at, err := x.Expiry(ctx, l)
		if err != nil && !errors.Is(err, subnet.ErrLost) {
			return l, failure{err, ""}
		}
		l.Expires = at
	}
	return l, nil
}

// find returns the lease that a person means: by subnet, as it is written or as it lies in
// etcd, by an address in one, by PublicIP or by node id.
func find(all []subnet.Lease, what string) (subnet.Lease, error) {
	var found []subnet.Lease
	for _, l := range all {
		if means(l, what) {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return subnet.Lease{}, failure{fmt.Errorf("there is no lease %q", what),
			"name it by its subnet, an address in it, its host's PublicIP or node id; flannelctl lease list shows all"}
	case 1:
		return found[0], nil
	}
	var names []string
	for _, l := range found {
		names = append(names, l.Key().String())
	}
	return subnet.Lease{}, failure{fmt.Errorf("%q is several leases: %s", what, strings.Join(names, ", ")), "name one by its subnet"}
}

// failed makes a failure of an error, if there is one.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err, ""}
}

func usage(what, hint string) error { return options.UsageError{Msg: what, Hint: hint} }

// groupOf is what a command does that is called without one of those below it.
func groupOf(names string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(cmd.CommandPath()+" needs a command", "give "+names)
		}
		return flagtable.Invalid(args[0], cmd.CommandPath(), "give "+names)
	}
}
