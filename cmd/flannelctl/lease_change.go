package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/options"
	"flanneld/pkg/flagtable"
	"flanneld/subnet"
	"flanneld/subnet/mirror"
	"flanneld/subnet/wire"
)

const reserveHelp = `Make a lease a reservation: a key without an end, which belongs to the host with
its PublicIP or node id. Nothing else of the lease changes, and its host need not
be restarted.

With --public-ip it makes one for a host that has no lease yet. LEASE is then a
subnet, which must be free.

Releases 0.5.6 to 0.17 keep a reservation. 0.5.5, and 0.18 to 0.28.9, turn it into
an ordinary lease when their host runs. So with etcd's v3 API the lease of such a
host is refused, unless --force is given.`

const unreserveHelp = `Give a reservation an end, a day from now. If its host runs, it renews the lease.`

const releaseHelp = `Delete the lease of a host that is gone for good, so that its subnet is free now.

First it asks the host, by a harmless mark in its lease. A host that runs and reaches
etcd answers within a second, and its lease is left alone. A host that is silent for
six seconds is away, or cut off from etcd: be sure that none of its containers runs.
Hosts of older releases cannot answer, and a reservation is kept for a host that is
away, so their leases are refused. With --force nobody is asked, and nothing refused.

A lease that changes meanwhile is not touched.`

// leaseChange is one call of a command that changes a lease.
type leaseChange struct {
	*call
	force    bool
	publicIP string
}

func leaseChanges(c *call) []*cobra.Command {
	r := &leaseChange{call: c}
	reserve := &cobra.Command{
		Use:   "reserve LEASE [--public-ip=IP]",
		Short: "Make a lease a reservation, which has no end",
		Long:  reserveHelp,
		Example: `  flannelctl lease reserve 10.5.1.0/24
  flannelctl lease reserve 10.5.77.0/24 --public-ip=192.0.2.77`,
		RunE: r.with(r.reserve),
	}
	reserve.Flags().StringVar(&r.publicIP, "public-ip", "", "make a reservation for the host with this `IP`, which has no lease yet")
	unreserve := &cobra.Command{
		Use:     "unreserve LEASE",
		Short:   "Make a reservation an ordinary lease again",
		Long:    unreserveHelp,
		Example: `  flannelctl lease unreserve 10.5.1.0/24`,
		RunE:    r.with(r.unreserve),
	}
	release := &cobra.Command{
		Use:     "release LEASE [--force]",
		Short:   "Delete the lease of a host that is gone",
		Long:    releaseHelp,
		Example: `  flannelctl lease release 192.0.2.9`,
		RunE:    r.with(r.release),
	}
	all := []*cobra.Command{reserve, unreserve, release}
	for _, cmd := range all {
		cmd.Args = oneLease
		if cmd != unreserve {
			cmd.Flags().BoolVar(&r.force, "force", false, "do even what it refuses without this")
		}
		completesLeases(c, cmd)
	}
	return all
}

// with runs a change on the network's leases, and says what came of it.
func (r *leaseChange) with(change func(context.Context, *network, string) (leaseChanged, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		n, err := r.openNetwork(cmd.Context())
		if err != nil {
			return err
		}
		defer n.close()
		done, err := change(cmd.Context(), n, args[0])
		if err != nil {
			return err
		}
		if r.output == "json" {
			cfg, _ := n.config() // without one nothing is allowed
			done.Schema, done.Lease = leaseSchema, asLeased(done.lease, cfg, time.Now())
			return failed(r.printJSON(done))
		}
		_, err = fmt.Fprintf(r.stdout, "%s of %s: %s\n", done.lease.Key(), mirror.Who(done.lease), done.Note)
		return failed(err)
	}
}

// leaseChanged is what came of a change.
type leaseChanged struct {
	Schema  int    `json:"schema"`
	Changed bool   `json:"changed"` // false: it was so already
	Note    string `json:"note"`
	Lease   leased `json:"lease"` // as it is now; of one that was released, as it was

	lease subnet.Lease
}

func (r *leaseChange) reserve(ctx context.Context, n *network, what string) (leaseChanged, error) {
	if r.publicIP != "" {
		return r.reserveFor(ctx, n, what)
	}
	l, err := n.lease(ctx, what)
	if err != nil {
		return leaseChanged{}, err
	}
	cfg, err := n.config()
	switch {
	case l.Reserved():
		return leaseChanged{Note: "it is a reservation already", lease: l}, nil
	case l.Mirror != "":
		return leaseChanged{}, failure{fmt.Errorf("%s is a copy: its host has the original on %s", l.Key(), l.Mirror), "reserve that, with --etcd-api=" + l.Mirror}
	case r.force:
	case err != nil || !cfg.Allows(l.V4.Subnet, l.V6.Subnet):
		return leaseChanged{}, failure{fmt.Errorf("%s is not allowed by the network's configuration, so that no host takes it", l.Key()), "see flannelctl config show; --force reserves it all the same"}
	case l.Node == "" && n.api == options.APIv3:
		return leaseChanged{}, failure{fmt.Errorf("the host of %s runs an older release, which makes a lease of a reservation again as soon as it runs", l.Key()),
			"upgrade it first; --force reserves it all the same, which lasts while the host is away"}
	}
	l, err = rewrite(ctx, n, l, 0)
	return leaseChanged{Changed: true, Note: "it is a reservation now, without an end", lease: l}, err
}

// reserveFor makes a reservation for a host that has no lease.
func (r *leaseChange) reserveFor(ctx context.Context, n *network, what string) (done leaseChanged, err error) {
	ip, err := netip.ParseAddr(r.publicIP)
	if err != nil || !ip.Is4() {
		return done, flagtable.Invalid(r.publicIP, "--public-ip", "give the IPv4 address that the host publishes, such as 192.0.2.77")
	}
	k, err := wire.ParseKey(what)
	if err != nil {
		if k.V4, err = netip.ParsePrefix(what); err != nil {
			return done, flagtable.Invalid(what, "LEASE", "with --public-ip it is a subnet, such as 10.5.77.0/24")
		}
	}
	cfg, err := n.config()
	switch {
	case err != nil:
		return done, failure{fmt.Errorf("the network's configuration cannot be read: %w", err), "see flannelctl config check"}
	case !cfg.Allows(k.V4, k.V6) && cfg.V6.Enabled() && !k.V6.IsValid():
		return done, failure{fmt.Errorf("the network has IPv6, and %s is an IPv4 subnet alone", k), "write both as they lie in etcd, such as 10.5.77.0-24&fd00:0:0:4d::-64"}
	case !cfg.Allows(k.V4, k.V6):
		return done, failure{fmt.Errorf("%s is not allowed by the network's configuration", k),
			fmt.Sprintf("choose a /%d from %s to %s", cfg.V4.SubnetLen, cfg.V4.Min, cfg.V4.Max)}
	}
	all, err := n.list(ctx)
	if err != nil {
		return done, err
	}
	for _, l := range all {
		switch {
		case l.Key().Overlaps(k):
			return done, failure{fmt.Errorf("%s is leased to %s: %s", k, mirror.Who(l), l.Key()), "choose another subnet; without --public-ip the lease of that host is reserved"}
		case l.V4.PublicIP == ip:
			return done, failure{fmt.Errorf("%s has %s already", ip, l.Key()), "reserve that, or release it first"}
		}
	}
	l := subnet.Lease{V4: subnet.Claim{Subnet: k.V4, PublicIP: ip}, V6: subnet.Claim{Subnet: k.V6}}
	l, err = n.Create(ctx, l, 0)
	if errors.Is(err, subnet.ErrTaken) {
		return done, failure{fmt.Errorf("%s was leased by somebody else meanwhile", k), "choose another subnet"}
	}
	return leaseChanged{Changed: true, Note: "it is a reservation, which the host takes when it starts", lease: l}, failed(err)
}

func (r *leaseChange) unreserve(ctx context.Context, n *network, what string) (leaseChanged, error) {
	l, err := n.lease(ctx, what)
	if err != nil {
		return leaseChanged{}, err
	}
	if !l.Reserved() {
		return leaseChanged{Note: "it is no reservation", lease: l}, nil
	}
	l, err = rewrite(ctx, n, l, subnet.DefaultTTL)
	return leaseChanged{Changed: true, Note: "it is a lease now, which ends in a day unless its host renews it", lease: l}, err
}

func (r *leaseChange) release(ctx context.Context, n *network, what string) (leaseChanged, error) {
	l, err := n.lease(ctx, what)
	if err != nil {
		return leaseChanged{}, err
	}
	note := "released; its host was not asked, and if it runs it may take the subnet again, or end"
	if !r.force {
		if l, err = r.vacant(ctx, n, l); err != nil {
			return leaseChanged{}, err
		}
		note = "released; its host did not answer. If it is cut off from etcd alone, stop its containers, since another host may get the subnet"
	}
	err = n.Delete(ctx, l)
	if errors.Is(err, subnet.ErrLost) {
		err = lost(l)
	} else {
		err = failed(err)
	}
	return leaseChanged{Changed: true, Note: note, lease: l}, err
}

// vacant returns a lease as it is now if no live host has it, as far as that can be known.
func (r *leaseChange) vacant(ctx context.Context, n *network, l subnet.Lease) (subnet.Lease, error) {
	switch {
	case l.Mirror != "":
		return l, failure{fmt.Errorf("%s is a copy: its host has the original on %s", l.Key(), l.Mirror), "release that, with --etcd-api=" + l.Mirror + "; the mirror removes the copy"}
	case l.Reserved():
		return l, failure{fmt.Errorf("%s is a reservation, which is kept for its host however long that is away", l.Key()),
			fmt.Sprintf("flannelctl lease unreserve %s gives it an end; --force releases it now", l.V4.Subnet)}
	case l.Node == "":
		return l, failure{fmt.Errorf("nobody can tell whether %s is there: its release does not answer; its lease of %s ends in %s, and such a host renews it an hour before that",
			l.V4.PublicIP, l.Key(), age(l.Expires, time.Now())), "wait for the end; or stop flanneld and the containers there, and give --force"}
	}
	fmt.Fprintf(r.stderr, "asking %s whether it is there, for six seconds at most\n", mirror.Who(l))
	now, alive, err := subnet.Ask(ctx, n, l)
	switch {
	case errors.Is(err, subnet.ErrLost):
		return l, lost(l)
	case err != nil:
		return l, failure{err, ""}
	case alive:
		return l, failure{fmt.Errorf("%s is there: it answered, and keeps %s", mirror.Who(l), l.Key()),
			"end its flanneld first (systemctl disable --now flanneld), and its containers: while it runs it takes a subnet again at once"}
	}
	return now, nil
}

// rewrite gives a lease another end, and changes nothing else. It is tried again if its host
// has renewed it meanwhile.
func rewrite(ctx context.Context, n *network, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	const tries = 3
	for range tries {
		now, err := n.Renew(ctx, l, l, ttl)
		switch {
		case err == nil && now.Reserved() == (ttl == 0):
			return now, nil
		case err != nil && !errors.Is(err, subnet.ErrLost):
			return l, failure{err, ""}
		}
		again, err := n.lease(ctx, wire.Key(l.Key()))
		if err != nil {
			return l, err
		}
		if again.Node != l.Node || again.V4.PublicIP != l.V4.PublicIP || again.Mirror != l.Mirror {
			break // it is another host's
		}
		l = again
	}
	return l, lost(l)
}

// lost is the failure that somebody else has changed a lease.
func lost(l subnet.Lease) error {
	return failure{fmt.Errorf("%s has changed meanwhile, and was not touched", l.Key()), fmt.Sprintf("see flannelctl lease show %s, and try again", l.V4.Subnet)}
}
