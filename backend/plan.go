package backend

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// Plan is what a backend wants for some planes.
type Plan struct {
	State   datapath.State
	Skipped []Skip
	Ingress []Ingress // one per plane

	// Spare reports whether the backend does without an object that cannot be made; Spared
	// is told after each Apply why one was not, or nil. Nil: there are no such objects.
	Spare  func(datapath.Object) bool
	Spared func(error)

	// Unreachable is what an administrator can do about a gateway that the kernel
	// cannot reach; may be empty.
	Unreachable string
}

// Skip is a peer that the plan leaves out.
type Skip struct {
	Subnet netip.Prefix
	Reason error
}

// Ingress says how packets of the overlay come into this host, for the firewall
// that lets them in or keeps others out.
type Ingress struct {
	Device string // the overlay's own interface; empty: there is none
	Direct bool   // packets may come in by the underlay's interface without a tunnel

	Port   uint16 // UDP, of the tunnel; zero: there is none
	Kernel bool   // the tunnel is the kernel's, which does not check who sends
	VNI    uint32 // of a tunnel of the kernel
}

// Apply makes the kernel as the plan says. The scope is the daemon's, which the plan's
// links are added to. It returns how many changes that took and the first of them, also
// with an error.
func (p Plan) Apply(ctx context.Context, scope datapath.Scope, r *datapath.Reconciler) (changes int, first datapath.Op, err error) {
	r.Scope = scope
	r.Scope.Links = slices.Clone(scope.Links)
	for _, l := range p.State.Links {
		r.Scope.Links = append(r.Scope.Links, l.Name)
	}
	changes, err = r.Apply(ctx, p.State)
	if _, known := errors.AsType[*datapath.ApplyError](err); p.Spare != nil && (known || err == nil) { // or nothing is known of the objects
		var spared []error
		if spared, err = p.spare(err); p.Spared != nil {
			p.Spared(errors.Join(spared...))
		}
		changes -= len(spared)
	}
	if p.Unreachable != "" && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)) {
		err = fmt.Errorf("%w; %s", err, p.Unreachable)
	}
	return changes, r.First, err
}

// spare parts an error of a Reconciler into what is wrong with objects that the backend
// does without, and with others.
func (p Plan) spare(err error) (spared []error, failed error) {
	all, ok := errors.AsType[*datapath.ApplyError](err)
	if !ok {
		return nil, err
	}
	rest := datapath.ApplyError{Total: all.Total}
	for _, e := range all.Failed {
		if op, ok := errors.AsType[*datapath.OpError](e); ok && p.Spare(op.Op.Object) {
			spared = append(spared, e)
		} else {
			rest.Failed = append(rest.Failed, e)
		}
	}
	if rest.Failed == nil {
		return spared, nil
	}
	return spared, &rest
}

// Metric returns the metric that the kernel gives to a route to p without one: 0 in
// IPv4, 1024 (IP6_RT_PRIO_USER) in IPv6. A wanted route must have it to equal the
// one that is read.
func Metric(p netip.Prefix) uint32 {
	if p.Addr().Is6() {
		return 1024
	}
	return 0
}

// blackholeMetric is far greater than that of the bridge's own route, which a
// blackhole must never replace.
const blackholeMetric = 65535

// Blackholes returns the routes that Plane.Blackhole and Plane.Fenced ask for.
func Blackholes(planes []Plane, protocol uint8) []datapath.Route {
	var routes []datapath.Route
	drop := func(to netip.Prefix) {
		routes = append(routes, datapath.Route{Dst: to, Type: datapath.Blackhole, Metric: blackholeMetric, Protocol: protocol})
	}
	for _, p := range planes {
		if p.Blackhole {
			drop(p.Subnet)
		}
		if p.Fenced {
			drop(p.Network)
		}
	}
	return routes
}
