package fake

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// defaultMetric is what IPv6 routes get that name none.
const defaultMetric = 1024

func (k *Kernel) setRoute(r datapath.Route) error {
	if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Type == datapath.OtherType {
		return unix.EINVAL
	}
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		r.Metric = defaultMetric
	}
	r.Foreign = false
	if r.Type == datapath.Unicast {
		link, err := k.nextHop(r)
		if err != nil {
			return err
		}
		r.Link = link
	}
	k.state.Routes = put(k.state.Routes, r, func(h datapath.Route) bool { return h.Dst == r.Dst && h.Metric == r.Metric })
	return nil
}

// nextHop returns the link that a route leads to.
func (k *Kernel) nextHop(r datapath.Route) (link string, err error) {
	if r.Link != "" {
		l := k.link(r.Link)
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
	case r.Gateway.Is4() != r.Dst.Addr().Is4(), k.local(r.Gateway):
		return "", unix.EINVAL
	case r.OnLink && r.Link == "":
		return "", unix.EINVAL
	case r.OnLink:
		return r.Link, nil
	}
	if link = k.reach(r.Gateway, r.Link); link == "" {
		return "", unix.EHOSTUNREACH
	}
	return link, nil
}

// local reports whether ip is this host's own.
func (k *Kernel) local(ip netip.Addr) bool {
	for _, a := range k.state.Addrs {
		if a.Prefix.Addr() == ip {
			return true
		}
	}
	return false
}

// reach returns the link, if need be the one named, on which ip is a neighbour
// by an address or by a route without a gateway; empty if there is none.
func (k *Kernel) reach(ip netip.Addr, on string) string {
	usable := func(link string) bool {
		l := k.link(link)
		return l != nil && l.Up && (on == "" || on == link)
	}
	for _, a := range k.state.Addrs {
		if a.Prefix.Contains(ip) && usable(a.Link) {
			return a.Link
		}
	}
	for _, r := range k.state.Routes {
		if r.Type == datapath.Unicast && !r.Gateway.IsValid() && r.Dst.Contains(ip) && usable(r.Link) {
			return r.Link
		}
	}
	return ""
}

// deleteRoute removes the route that matches all that r says; metric 0 says
// nothing, and then it is the one of lowest metric.
func (k *Kernel) deleteRoute(r datapath.Route) {
	at := -1
	for i, h := range k.state.Routes {
		if matches(r, h) && (at < 0 || h.Metric < k.state.Routes[at].Metric) {
			at = i
		}
	}
	if at >= 0 {
		k.state.Routes = slices.Delete(k.state.Routes, at, at+1)
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
