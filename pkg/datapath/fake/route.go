package fake

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// linkTo returns the link that a route leads to.
func linkTo(s *datapath.State, r datapath.Route) (link string, err error) {
	if r.Link != "" {
		l := find(s.Links, r.Link)
		if l == nil {
			return "", errNoLink
		}
		if !l.Up {
			return "", unix.ENETDOWN
		}
	}
	switch {
	case !r.Gateway.IsValid() && r.Link == "":
		return "", unix.ENODEV
	case !r.Gateway.IsValid():
		return r.Link, nil
	case r.Gateway.Is4() != r.Dst.Addr().Is4(), local(s, r.Gateway):
		return "", unix.EINVAL
	case r.OnLink && r.Link == "", r.OnLink && elsewhere(s, r):
		return "", unix.EINVAL
	case r.OnLink:
		return r.Link, nil
	}
	if link = reach(s, r.Gateway, r.Link); link == "" {
		return "", unix.EHOSTUNREACH
	}
	return link, nil
}

// elsewhere reports whether the gateway of an IPv6 route leads to another link by the routes
// that there are (ip6_route_check_nh_onlink of net/ipv6/route.c).
func elsewhere(s *datapath.State, r datapath.Route) bool {
	if r.Gateway.Is4() {
		return false
	}
	var best datapath.Route
	for _, h := range allRoutes(s) {
		if h.Dst.Contains(r.Gateway) && h.Dst.Bits() > max(best.Dst.Bits(), 0) {
			best = h
		}
	}
	return best.Type == datapath.Unicast && best.Link != "" && best.Link != r.Link
}

// local reports whether ip is this host's own.
func local(s *datapath.State, ip netip.Addr) bool {
	for _, a := range s.Addrs {
		if a.Prefix.Addr() == ip {
			return true
		}
	}
	return false
}

// reach returns the link, if need be the one named, on which ip is a neighbour
// by an address or by a route without a gateway; empty if there is none.
func reach(s *datapath.State, ip netip.Addr, on string) string {
	usable := func(link string) bool {
		l := find(s.Links, link)
		return l != nil && l.Up && (on == "" || on == link)
	}
	for _, a := range s.Addrs {
		if a.Prefix.Contains(ip) && usable(a.Link) {
			return a.Link
		}
	}
	for _, r := range s.Routes {
		if r.Type == datapath.Unicast && !r.Gateway.IsValid() && r.Dst.Contains(ip) && usable(r.Link) {
			return r.Link
		}
	}
	return ""
}

// allRoutes returns all routes. Those that come with an IPv6 address are kept nowhere
// else, see connect.
func allRoutes(s *datapath.State) []datapath.Route {
	const connected = 256 // the metric of such a route
	var table []datapath.Route
	for _, a := range s.Addrs {
		if a.Prefix.Addr().Is6() && find(s.Links, a.Link).Up && !a.Prefix.IsSingleIP() {
			table = append(table, datapath.Route{Dst: a.Prefix.Masked(), Link: a.Link, Metric: connected})
		}
	}
	return append(table, s.Routes...)
}

func nextHopTo(s *datapath.State, dst netip.Addr, table []datapath.Route, scope datapath.Scope) datapath.NextHop {
	if local(s, dst) {
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
	if l := find(s.Links, best.Link); scope.OwnsLink(l.Name, l.Alias) {
		return datapath.NextHop{}
	}
	return datapath.NextHop{Link: best.Link, Gateway: best.Gateway}
}
