package fake

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// tables is what a kernel has of everything, and its rules for changing it.
type tables struct {
	datapath.State
	made int // links so far, for their MACs
}

var errNoLink = fmt.Errorf("no such link: %w", unix.ENODEV)

// do carries out an operation.
func (t *tables) do(op datapath.Op) error {
	if link, ok := op.Object.(datapath.Link); ok {
		return t.doLink(op.Verb, link)
	}
	if op.Verb == datapath.Make {
		return fmt.Errorf("make of a %T: %w", op.Object, unix.EINVAL)
	}
	if op.Verb == datapath.Delete {
		t.delete(op.Object)
		return nil
	}
	switch o := op.Object.(type) {
	case datapath.Addr:
		return t.setAddr(o)
	case datapath.FDBEntry:
		return t.setFDB(o)
	case datapath.Neigh:
		return t.setNeigh(o)
	case datapath.Route:
		return t.setRoute(o)
	case datapath.Filter:
		return t.setFilter(o)
	}
	return fmt.Errorf("unknown object %T", op.Object)
}

func (t *tables) delete(o datapath.Object) {
	switch o := o.(type) {
	case datapath.Addr:
		t.Addrs = keep(t.Addrs, func(a datapath.Addr) bool { return a != o })
		t.Routes = keep(t.Routes, func(r datapath.Route) bool { return r != connected(o) })
	case datapath.FDBEntry:
		t.FDB = keep(t.FDB, func(e datapath.FDBEntry) bool { return e != o })
	case datapath.Neigh: // the MAC does not matter to the kernel
		t.Neighs = keep(t.Neighs, func(n datapath.Neigh) bool { return n.Link != o.Link || n.IP != o.IP })
	case datapath.Route:
		t.deleteRoute(o)
	case datapath.Filter:
		t.Filters = keep(t.Filters, func(f datapath.Filter) bool { return f.Link != o.Link || f.Egress != o.Egress })
	}
}

func (t *tables) setFilter(f datapath.Filter) error {
	if find(t.Links, f.Link) == nil {
		return errNoLink
	}
	f.FD = 0 // nobody reads it back
	t.Filters = put(t.Filters, f, func(h datapath.Filter) bool { return h.Link == f.Link && h.Egress == f.Egress })
	return nil
}

func (t *tables) setAddr(a datapath.Addr) error {
	switch {
	case find(t.Links, a.Link) == nil:
		return errNoLink
	case !a.Prefix.IsValid():
		return unix.EINVAL
	}
	t.Addrs = put(t.Addrs, a, func(b datapath.Addr) bool { return b == a })
	t.connect(a)
	return nil
}

// connect makes the route that comes with an address while its link is up, behind
// what has its place.
func (t *tables) connect(a datapath.Addr) {
	if r := connected(a); find(t.Links, a.Link).Up && a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() {
		t.Routes = put(t.Routes, r, func(h datapath.Route) bool { return h == r })
	}
}

// connected is the route that an IPv4 address brings with it. Those of IPv6 have
// a metric of their own and stand in nobody's way.
func connected(a datapath.Addr) datapath.Route {
	return datapath.Route{Dst: a.Prefix.Masked(), Link: a.Link, Protocol: datapath.ProtocolKernel}
}

func (t *tables) setFDB(e datapath.FDBEntry) error {
	l := find(t.Links, e.Link)
	switch {
	case l == nil:
		return errNoLink
	case l.Kind != "vxlan":
		return unix.EOPNOTSUPP
	case !e.MAC.Unicast() || !e.Dst.IsValid():
		return unix.EINVAL
	case l.VXLAN.Local.IsValid() && e.Dst.Is4() != l.VXLAN.Local.Is4():
		return unix.EAFNOSUPPORT
	}
	t.FDB = put(t.FDB, e, func(b datapath.FDBEntry) bool { return b.Link == e.Link && b.MAC == e.MAC })
	return nil
}

func (t *tables) setNeigh(n datapath.Neigh) error {
	switch {
	case find(t.Links, n.Link) == nil:
		return errNoLink
	case !n.IP.IsValid():
		return unix.EINVAL
	}
	t.Neighs = put(t.Neighs, n, func(b datapath.Neigh) bool { return b.Link == n.Link && b.IP == n.IP })
	return nil
}

// defaultMetric is what IPv6 routes get that name none.
const defaultMetric = 1024

func (t *tables) setRoute(r datapath.Route) error {
	if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Type == datapath.OtherType {
		return unix.EINVAL
	}
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		r.Metric = defaultMetric
	}
	if r.Level >= unix.RT_SCOPE_LINK && r.Gateway.Is4() {
		return unix.EINVAL
	}
	r.Foreign, r.Level = false, 0
	if r.Type == datapath.Unicast {
		link, err := linkTo(&t.State, r)
		if err != nil {
			return err
		}
		r.Link = link
	}
	t.Routes = put(t.Routes, r, func(h datapath.Route) bool { return h.Dst == r.Dst && h.Metric == r.Metric })
	return nil
}

// deleteRoute removes the route that matches all that r says; metric 0 says
// nothing, and then it is the one of lowest metric.
func (t *tables) deleteRoute(r datapath.Route) {
	at := -1
	for i, h := range t.Routes {
		if matches(r, h) && (at < 0 || h.Metric < t.Routes[at].Metric) {
			at = i
		}
	}
	if at >= 0 {
		t.Routes = slices.Delete(t.Routes, at, at+1)
	}
}

func matches(r, h datapath.Route) bool {
	return h.Dst == r.Dst &&
		(r.Metric == 0 || h.Metric == r.Metric) &&
		(r.Type == datapath.OtherType || h.Type == r.Type) &&
		(!r.Gateway.IsValid() || h.Gateway == r.Gateway) &&
		(r.Link == "" || h.Link == r.Link) &&
		(r.Protocol == 0 || h.Protocol == r.Protocol)
}

// put replaces the object that same accepts, or adds o.
func put[T any](table []T, o T, same func(T) bool) []T {
	if i := slices.IndexFunc(table, same); i >= 0 {
		table[i] = o
		return table
	}
	return append(table, o)
}
