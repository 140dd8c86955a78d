package backend

import (
	"net/netip"

	"flanneld/pkg/datapath"
)

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
