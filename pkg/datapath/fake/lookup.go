package fake

import (
	"context"
	"net/netip"

	"flanneld/pkg/datapath"
)

// NextHops answers as the kernel's routing would that has the main table only:
// the longest prefix wins, then the lowest metric. See the package kernel.
func (k *Kernel) NextHops(ctx context.Context, scope datapath.Scope, dsts []netip.Addr) ([]datapath.NextHop, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	table := k.table()
	hops := make([]datapath.NextHop, len(dsts))
	for i, dst := range dsts {
		hops[i] = k.nextHopTo(dst, table, scope)
	}
	return hops, nil
}

// table returns all routes. Those that come with an IPv6 address are kept nowhere
// else, see connect.
func (k *Kernel) table() []datapath.Route {
	const connected = 256 // the metric of such a route
	var table []datapath.Route
	for _, a := range k.state.Addrs {
		if a.Prefix.Addr().Is6() && k.link(a.Link).Up && !a.Prefix.IsSingleIP() {
			table = append(table, datapath.Route{Dst: a.Prefix.Masked(), Link: a.Link, Metric: connected})
		}
	}
	return append(table, k.state.Routes...)
}

func (k *Kernel) nextHopTo(dst netip.Addr, table []datapath.Route, scope datapath.Scope) datapath.NextHop {
	if k.local(dst) {
		return datapath.NextHop{}
	}
	var best datapath.Route
	for _, r := range table {
		if !r.Dst.Contains(dst) {
			continue
		}
		if !best.Dst.IsValid() || r.Dst.Bits() > best.Dst.Bits() ||
			r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	if !best.Dst.IsValid() || best.Type != datapath.Unicast {
		return datapath.NextHop{}
	}
	if l := k.link(best.Link); scope.OwnsLink(l.Name, l.Alias) {
		return datapath.NextHop{}
	}
	return datapath.NextHop{Link: best.Link, Gateway: best.Gateway}
}
