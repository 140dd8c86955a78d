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
	for _, p := range planes {
		if p.Blackhole {
			routes = append(routes, datapath.Route{
				Dst: p.Subnet, Type: datapath.Blackhole, Metric: blackholeMetric, Protocol: protocol,
			})
		}
		if p.Fenced {
			routes = append(routes, datapath.Route{
				Dst: p.Network, Type: datapath.Blackhole, Metric: blackholeMetric, Protocol: protocol,
			})
		}
	}
	return routes
}
