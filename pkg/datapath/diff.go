package datapath

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Diff returns the operations that turn have into want: links, filters, addresses, FDB,
// neighbours and routes last, so that a route never leads to where nothing is
// ready; then deletions in reverse, but for those of links without which a wanted
// one cannot be made. A wanted object takes the place of one with the same key
// without a gap. What hangs on a link that is deleted or re-made
// goes with it and needs no operation.
//
// Want holds at most one object per key: link name; link and prefix; link and
// MAC; link and IP; destination and metric.
func Diff(want, have State) []Op {
	links, gone, doomed := diffLinks(want.Links, have.Links)
	addrs, noAddrs := diff(want.Addrs, have.Addrs, gone, func(a Addr) Addr { return a })
	fdb, noFDB := diff(want.FDB, have.FDB, gone, func(e FDBEntry) key[string, MAC] { return key[string, MAC]{e.Link, e.MAC} })
	neighs, noNeighs := diff(want.Neighs, have.Neighs, gone, func(n Neigh) key[string, netip.Addr] { return key[string, netip.Addr]{n.Link, n.IP} })
	routes, noRoutes := diff(want.Routes, have.Routes, gone, routeKey)
	filters, noFilters := diffFilters(want.Filters, have.Filters, gone)
	noRoutes = slices.DeleteFunc(noRoutes, func(op Op) bool { return op.Object.(Route).Foreign })
	// The kernel takes no gateway that is this host's own address. It flushes a
	// link's routes with its last address, so the wanted one comes before.
	noGateways, noAddrs := gatewaysFirst(noAddrs, want.Routes)

	return slices.Concat(links, filters, addrs, noGateways, fdb, neighs, routes, noRoutes, noFilters, noNeighs, noFDB, noAddrs, doomed)
}

// Mend returns the operations by which an Apply of want would begin, and why it would leave
// out some routes. Nothing is done; as text the operations are commands to type.
func Mend(want, have State) (ops []Op, blocked []error) {
	want.Routes, blocked = split(want.Routes, have.Routes, nil)
	return onLinkAnew(Diff(want, have), have.Routes), blocked
}

// split parts wanted routes into those that can be made and those whose place is
// somebody else's: a route that came with an interface's address has it, or, of a route
// by a gateway, any other at whatever metric, unless ours was there already. What leads
// where ours would is no hindrance: an older release leaves such routes. Placed are the
// routes that were made for the last state that was wanted.
func split(want, have, placed []Route) (free []Route, blocked []error) {
	foreign := make(map[netip.Prefix][]Route) // hardly any
	for _, h := range have {
		if h.Foreign {
			foreign[h.Dst] = append(foreign[h.Dst], h)
		}
	}
	if len(foreign) == 0 {
		return want, nil
	}
	ours := sync.OnceValue(func() map[key[netip.Prefix, uint32]]bool {
		ours := make(map[key[netip.Prefix, uint32]]bool)
		for _, r := range slices.Concat(have, placed) {
			if !r.Foreign {
				ours[routeKey(r)] = true
			}
		}
		return ours
	})
	kept := func(w Route) error {
		for _, h := range foreign[w.Dst] {
			switch {
			case h.Connected() && h.Metric == w.Metric:
				return ErrConnected
			case w.Gateway.IsValid() && (h.Type != Unicast || h.Gateway != w.Gateway || h.Link != w.Link) && !ours()[routeKey(w)]:
				return ErrForeign
			}
		}
		return nil
	}
	for _, w := range want {
		if err := kept(w); err != nil {
			blocked = append(blocked, &OpError{Op{Set, w}, err})
		} else {
			free = append(free, w)
		}
	}
	return free, blocked
}

// onLinkAnew returns the operations with one more before each that sets an IPv6 route by a
// gateway on the link, in the place of one by another link: the deletion of that. By it the
// kernel finds the gateway elsewhere, and refuses to replace it.
func onLinkAnew(ops []Op, have []Route) []Op {
	there := make(map[key[netip.Prefix, uint32]]Route) // IPv6 only
	for _, h := range have {
		if h.Dst.Addr().Is6() && h.Type != Blackhole {
			there[routeKey(h)] = h
		}
	}
	if len(there) == 0 {
		return ops
	}
	anew := make([]Op, 0, len(ops))
	for _, op := range ops {
		if w, ok := op.Object.(Route); ok && op.Verb == Set && w.OnLink {
			if h, ok := there[routeKey(w)]; ok && h.Link != w.Link {
				anew = append(anew, Op{Delete, h})
			}
		}
		anew = append(anew, op)
	}
	return anew
}

// shadows names routes of others to a part of what a wanted route by a gateway leads to, of
// which there are hardly any: no more than some are looked at.
func shadows(want, have []Route) string {
	shortest, left := 128, 32
	for _, w := range want {
		if w.Gateway.IsValid() {
			shortest = min(shortest, w.Dst.Bits())
		}
	}
	var all []string
	for _, h := range have {
		if !h.Foreign || h.Dst.Bits() <= shortest || left == 0 {
			continue
		}
		left--
		if slices.ContainsFunc(want, func(w Route) bool {
			return w.Gateway.IsValid() && w.Dst.Bits() < h.Dst.Bits() && w.Dst.Contains(h.Dst.Addr())
		}) {
			all = append(all, h.Dst.String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// gatewaysFirst splits deletions of addresses into those of wanted gateways and
// the others.
func gatewaysFirst(del []Op, routes []Route) (first, last []Op) {
	if len(del) == 0 {
		return nil, nil
	}
	gateways := make(map[netip.Addr]bool)
	for _, r := range routes {
		gateways[r.Gateway] = true
	}
	for _, op := range del {
		if gateways[op.Object.(Addr).Prefix.Addr()] {
			first = append(first, op)
		} else {
			last = append(last, op)
		}
	}
	return first, last
}

// key is what no two objects of a table have in common.
type key[A, B comparable] struct {
	a A
	b B
}

func routeKey(r Route) key[netip.Prefix, uint32] {
	return key[netip.Prefix, uint32]{r.Dst, r.Metric}
}

// diff compares one table. What hangs on a link that is gone needs no deletion. It
// takes most of the time of a pass without changes, so it looks up each have object once,
// in one map, and in none as long as both have the same order: the kernel's routes are
// sorted, as are the peers.
func diff[K comparable, T interface {
	comparable
	Object
}](want, have []T, gone map[string]bool, key func(T) K) (set, del []Op) {
	met := make([]bool, len(want))
	place := make([]int, len(have)) // in want, of what has the same key; -1: nowhere
	if len(have) > 0 {
		var wanted map[K]int
		next := 0 // after the last that was found
		for j, h := range have {
			if next < len(want) && want[next] == h {
				met[next], place[j] = true, next
				next++
				continue
			}
			if wanted == nil {
				wanted = make(map[K]int, len(want))
				for i, w := range want {
					wanted[key(w)] = i
				}
			}
			i, ok := wanted[key(h)]
			if !ok {
				place[j] = -1
				continue
			}
			met[i] = met[i] || want[i] == h
			place[j], next = i, i+1
		}
	}
	for i, w := range want {
		if !met[i] {
			set = append(set, Op{Set, w})
		}
	}
	for j, h := range have {
		i := place[j]
		// A duplicate of a wanted object is deleted after the Set, which may
		// replace it.
		if i >= 0 && (want[i] == h || !met[i]) || gone[h.On()] {
			continue
		}
		del = append(del, Op{Delete, h})
	}
	return set, del
}

// diffLinks returns the operations that come first, the links that lose all their
// addresses, entries and routes by these, and the deletions that come last.
func diffLinks(want, have []Link) (first []Op, gone map[string]bool, last []Op) {
	there := make(map[string]Link, len(have))
	for _, h := range have {
		there[h.Name] = h
	}
	gone = make(map[string]bool)
	for _, w := range want {
		h, ok := there[w.Name]
		delete(there, w.Name)
		switch {
		case ok && h == w:
		case ok && h.Kind == w.Kind && h.VXLAN == w.VXLAN && h.TUN == w.TUN:
			first = append(first, Op{Set, w})
		case ok:
			gone[w.Name] = true
			first = append(first, Op{Delete, h}, Op{Make, w})
		default:
			first = append(first, Op{Make, w})
		}
	}
	for _, h := range have {
		if _, ok := there[h.Name]; !ok {
			continue
		}
		gone[h.Name] = true
		if slices.ContainsFunc(want, func(w Link) bool { return h.VXLAN.Excludes(w.VXLAN) }) {
			first = slices.Insert(first, 0, Op{Delete, h})
		} else {
			last = append(last, Op{Delete, h})
		}
	}
	return first, gone, last
}
