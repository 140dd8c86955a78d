package fake

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

var errNoLink = fmt.Errorf("no such link: %w", unix.ENODEV)

func (k *Kernel) do(op datapath.Op) error {
	if k.Fail != nil {
		if err := k.Fail(op); err != nil {
			return err
		}
	}
	return k.carryOut(op)
}

func (k *Kernel) carryOut(op datapath.Op) error {
	if link, ok := op.Object.(datapath.Link); ok {
		return k.doLink(op.Verb, link)
	}
	if op.Verb == datapath.Make {
		return fmt.Errorf("make of a %T: %w", op.Object, unix.EINVAL)
	}
	if op.Verb == datapath.Delete {
		k.delete(op.Object)
		return nil
	}
	switch o := op.Object.(type) {
	case datapath.Addr:
		return k.setAddr(o)
	case datapath.FDBEntry:
		return k.setFDB(o)
	case datapath.Neigh:
		return k.setNeigh(o)
	case datapath.Route:
		return k.setRoute(o)
	}
	return fmt.Errorf("unknown object %T", op.Object)
}

func (k *Kernel) delete(o datapath.Object) {
	switch o := o.(type) {
	case datapath.Addr:
		k.state.Addrs = keep(k.state.Addrs, func(a datapath.Addr) bool { return a != o })
		k.state.Routes = keep(k.state.Routes, func(r datapath.Route) bool { return r != connected(o) })
	case datapath.FDBEntry:
		k.state.FDB = keep(k.state.FDB, func(e datapath.FDBEntry) bool { return e != o })
	case datapath.Neigh: // the MAC does not matter to the kernel
		k.state.Neighs = keep(k.state.Neighs, func(n datapath.Neigh) bool { return n.Link != o.Link || n.IP != o.IP })
	case datapath.Route:
		k.deleteRoute(o)
	}
}

func (k *Kernel) setAddr(a datapath.Addr) error {
	switch {
	case k.link(a.Link) == nil:
		return errNoLink
	case !a.Prefix.IsValid():
		return unix.EINVAL
	}
	k.state.Addrs = put(k.state.Addrs, a, func(b datapath.Addr) bool { return b == a })
	k.connect(a)
	return nil
}

// connect makes the route that comes with an address while its link is up, behind
// what has its place.
func (k *Kernel) connect(a datapath.Addr) {
	if r := connected(a); k.link(a.Link).Up && a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() {
		k.state.Routes = put(k.state.Routes, r, func(h datapath.Route) bool { return h == r })
	}
}

// connected is the route that an IPv4 address brings with it. Those of IPv6 have
// a metric of their own and stand in nobody's way.
func connected(a datapath.Addr) datapath.Route {
	return datapath.Route{Dst: a.Prefix.Masked(), Link: a.Link, Protocol: datapath.ProtocolKernel}
}

func (k *Kernel) setFDB(e datapath.FDBEntry) error {
	l := k.link(e.Link)
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
	k.state.FDB = put(k.state.FDB, e, func(b datapath.FDBEntry) bool { return b.Link == e.Link && b.MAC == e.MAC })
	return nil
}

func (k *Kernel) setNeigh(n datapath.Neigh) error {
	switch {
	case k.link(n.Link) == nil:
		return errNoLink
	case !n.IP.IsValid():
		return unix.EINVAL
	}
	k.state.Neighs = put(k.state.Neighs, n, func(b datapath.Neigh) bool { return b.Link == n.Link && b.IP == n.IP })
	return nil
}

// put replaces the object that same accepts, or adds o.
func put[T any](table []T, o T, same func(T) bool) []T {
	if i := slices.IndexFunc(table, same); i >= 0 {
		table[i] = o
		return table
	}
	return append(table, o)
}
