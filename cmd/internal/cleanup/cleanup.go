// Package cleanup takes off a host what daemons have put there, once none runs. It decides
// what is theirs: a device by its alias, a route and a filter by their marks, a rule by its
// name, a file by its place and what is in it. It does not know etcd: a lease ends by itself.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/backend/firewall"
	"flanneld/cmd/internal/host"
	"flanneld/pkg/datapath"
)

// Options say what is to go.
type Options struct {
	Prefix   string         // etcd's, of the daemon that ran here; empty: not known
	Networks []netip.Prefix // that it had, beside the subnet file's; invalid ones do not count

	SubnetFile, Socket string
	StateDir           string // empty: it stays
	DockerOptions      string // the file of mk-docker-opts.sh; it goes if it has this host's subnet

	Kernel datapath.Kernel
	Dry    bool // only tell
}

// Change is one thing that was removed, or is to be.
type Change struct {
	Kind    string `json:"kind"`    // device, route, filter, neighbour, address, firewall or file
	Command string `json:"command"` // that would do the same
}

// Left is something that stays.
type Left struct {
	What string `json:"what"`
	Why  string `json:"why"` // and what to do about it
}

// Report is what came of it.
type Report struct {
	Removed []Change `json:"removed"`
	Left    []Left   `json:"left"`
}

// Run removes everything. Where something cannot be removed it goes on, and the error joins
// the reasons. Applied twice, the second time there is nothing.
func Run(ctx context.Context, o Options) (Report, error) {
	r := Report{Removed: []Change{}, Left: []Left{}}
	err := errors.Join(r.datapath(ctx, o), r.firewall(ctx, o.Dry), r.files(o))
	return r, err
}

// Rules removes what is in the packet filter alone: the rest goes on carrying packets.
func Rules(ctx context.Context, dry bool) (Report, error) {
	r := Report{Removed: []Change{}, Left: []Left{}}
	err := r.firewall(ctx, dry)
	return r, err
}

func (r *Report) firewall(ctx context.Context, dry bool) error {
	removal, err := firewall.Remove(ctx, dry)
	for _, c := range removal.Changes {
		r.Removed = append(r.Removed, Change{"firewall", c})
	}
	for _, s := range removal.Skipped {
		r.Left = append(r.Left, Left{"the packet filter", "it was not looked at: " + s})
	}
	return err
}

// everywhere is where routes with our mark are looked for that are in no network we know.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// datapath removes devices with all that hangs on them, then routes and filters by other
// devices.
func (r *Report) datapath(ctx context.Context, o Options) error {
	log := slog.New(slog.DiscardHandler)
	env := host.ReadSubnetEnv(o.SubnetFile, log)
	owners, err := host.Owners()
	if err != nil {
		return err
	}
	if o.Prefix != "" && !slices.Contains(owners, host.Owner(o.Prefix)) { // its filters may be there without its device
		owners = append(owners, host.Owner(o.Prefix))
	}
	scope := datapath.Scope{Links: env.Leftovers(log), Networks: env.Networks(o.Networks...), Protocol: host.RouteProtocol}
	errs := []error{r.remove(ctx, o, scope)}
	for _, owner := range owners {
		errs = append(errs, r.remove(ctx, o, datapath.Scope{Owner: owner, Protocol: host.RouteProtocol}))
	}
	have, err := o.Kernel.Read(ctx, datapath.Scope{Networks: everywhere, Protocol: host.RouteProtocol})
	for _, route := range have.Routes {
		if !route.Foreign && !scope.InNetworks(route.Dst) && !r.gone(route) {
			r.Left = append(r.Left, Left{"the route to " + route.Dst.String(), fmt.Sprintf("it has our mark and is in no network that %s names; %s", o.SubnetFile,
				datapath.Op{Verb: datapath.Delete, Object: route})})
		}
	}
	return errors.Join(append(errs, err)...)
}

// gone reports whether a route goes with a device that is to be removed.
func (r *Report) gone(route datapath.Route) bool {
	return slices.Contains(r.Removed, Change{"device", datapath.Op{Verb: datapath.Delete, Object: datapath.Link{Name: route.Link}}.String()})
}

// remove removes what a scope covers.
func (r *Report) remove(ctx context.Context, o Options, scope datapath.Scope) error {
	have, err := o.Kernel.Read(ctx, scope)
	if err != nil {
		return fmt.Errorf("read network state: %w", err)
	}
	ops := datapath.Diff(datapath.State{}, have)
	failed := make(map[datapath.Op]bool)
	if !o.Dry {
		var known bool
		err = o.Kernel.Do(ctx, ops)
		if failed, known = failures(err); !known {
			return err
		}
	}
	for _, op := range ops {
		// Dry, a device that is known by more than its alias is found again.
		if c := (Change{kind(op.Object), op.String()}); !failed[op] && !slices.Contains(r.Removed, c) {
			r.Removed = append(r.Removed, c)
		}
	}
	return err
}

// failures returns the operations that an error of a Kernel is about, and whether it says
// all that there is to know.
func failures(err error) (failed map[datapath.Op]bool, known bool) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err == nil
	}
	failed = make(map[datapath.Op]bool)
	for _, err := range joined.Unwrap() {
		op, ok := errors.AsType[*datapath.OpError](err)
		if !ok {
			return nil, false
		}
		failed[op.Op] = true
	}
	return failed, true
}

func kind(o datapath.Object) string {
	switch o.(type) {
	case datapath.Link:
		return "device"
	case datapath.Route:
		return "route"
	case datapath.Filter:
		return "filter"
	case datapath.Addr:
		return "address"
	}
	return "neighbour"
}
