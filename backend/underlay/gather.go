package underlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/netif"
)

// gather reads the kernel's tables, the IPv6 routes only if they count: a kernel may be
// without IPv6.
func gather(v6 bool) (*snapshot, error) {
	links, err := netif.Dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("dump links: %w", err)
	}
	addrs, err := netif.Dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("dump addresses: %w", err)
	}
	s := &snapshot{reach: reach}
	if s.defaults4, err = defaults(netlink.FAMILY_V4); err != nil {
		return nil, err
	}
	for _, l := range links {
		a := l.Attrs()
		s.links = append(s.links, link{
			name:     a.Name,
			altNames: a.AltNames,
			index:    a.Index,
			mtu:      a.MTU,
			loopback: a.Flags&net.FlagLoopback != 0,
			excluded: isOverlay(a.Name, a.Alias),
			addrs:    addrsOf(a.Index, addrs, s.defaults4),
		})
	}
	if v6 {
		s.defaults6, err = defaults(netlink.FAMILY_V6)
	}
	return s, err
}

// addrsOf returns the interface's addresses that can be used, best first. Those of IPv4 are
// in the kernel's order, by which older releases take the first one; but an address of its
// own that no default route sends from, as keepalived and its like let it float between
// hosts, comes after what stays.
func addrsOf(index int, all []netlink.Addr, routes []defaultRoute) []addr {
	var addrs []addr
	for _, a := range all {
		if a.LinkIndex != index || a.IPNet == nil || a.Flags&unix.IFA_F_DADFAILED != 0 {
			continue
		}
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || !ip.IsGlobalUnicast() && !ip.IsLinkLocalUnicast() {
			continue
		}
		rank := 0
		for i, bad := range []bool{
			ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0, // RFC 8981: replaced about daily; of IPv4 the bit says that it is a secondary one
			ip.Is6() && a.Flags&unix.IFA_F_PERMANENT == 0, // goes away when its lifetime ends
			ip.Is6() && a.Flags&unix.IFA_F_TENTATIVE != 0, // not yet known to be unique
			ip.Is4() && floats(a) && !slices.ContainsFunc(routes, func(r defaultRoute) bool { return r.source == ip }),
			ip.IsLinkLocalUnicast(),
		} {
			if bad {
				rank += 1 << i
			}
		}
		addrs = append(addrs, addr{ip, rank, a.Flags&unix.IFA_F_DEPRECATED != 0})
	}
	slices.SortStableFunc(addrs, func(a, b addr) int { return a.rank - b.rank })
	return addrs
}

// floats reports whether an address is a whole subnet and no end of a point-to-point link.
func floats(a netlink.Addr) bool {
	ones, bits := a.Mask.Size()
	return bits > 0 && ones == bits && (a.Peer == nil || a.Peer.IP.Equal(a.IP))
}

// defaults returns the main table's default routes, in the kernel's order, without those
// that lead nowhere (unreachable, blackhole).
func defaults(family int) ([]defaultRoute, error) {
	routes, err := netif.Dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE|netlink.RT_FILTER_DST) // without a Dst: the default
	})
	if err != nil {
		return nil, fmt.Errorf("dump routes: %w", err)
	}
	var all []defaultRoute
	for _, r := range routes {
		source, _ := netip.AddrFromSlice(r.Src)
		all = append(all, defaultRoute{metric: r.Priority, index: outOf(r), source: source.Unmap()})
	}
	return all, nil
}

// outOf returns the index of the one interface by which a default route leaves, or 0.
func outOf(r netlink.Route) int {
	switch {
	case len(r.MultiPath) > 0:
		index := r.MultiPath[0].LinkIndex
		for _, hop := range r.MultiPath {
			if hop.LinkIndex != index {
				return 0
			}
		}
		return index
	case r.LinkIndex == 0:
		return asked(r.Family)
	}
	return r.LinkIndex
}

// asked returns the index of the one interface by which packets leave for anywhere, or 0.
// A route by nexthop objects names none where net.ipv4.nexthop_compat_mode is 0; of several
// hops each address may have another, so some are asked for.
func asked(family int) (index int) {
	to := anywhere[map[int]int{netlink.FAMILY_V4: 0, netlink.FAMILY_V6: 1}[family]]
	for range 16 {
		at, _, err := reach(to)
		if err != nil || index != 0 && at != index {
			return 0
		}
		index, to = at, to.Next()
	}
	return index
}

func reach(target netip.Addr) (int, netip.Addr, error) {
	routes, err := netlink.RouteGet(plain(target).AsSlice())
	if err != nil {
		return 0, netip.Addr{}, err
	}
	if len(routes) == 0 {
		return 0, netip.Addr{}, errors.New("no route")
	}
	source, _ := netip.AddrFromSlice(routes[0].Src)
	return routes[0].LinkIndex, source.Unmap(), nil
}
