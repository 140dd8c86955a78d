package backend

import "net/netip"

// Metric returns the metric that the kernel gives to a route to p when none is
// asked for: 0 in IPv4, 1024 (IP6_RT_PRIO_USER) in IPv6. A wanted route names
// it, or it would never equal the one that is read.
func Metric(p netip.Prefix) uint32 {
	if p.Addr().Is6() {
		return 1024
	}
	return 0
}
