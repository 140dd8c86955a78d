package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// read takes the kernel's tables. A dump that a change interrupted is taken as
// it is: interfaces are chosen once, at a start.
func read() (*table, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	t := &table{defaultRoute: defaultRoute, reach: reach}
	for _, l := range links {
		a := l.Attrs()
		addrs, err := addresses(l)
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", a.Name, err)
		}
		t.ifaces = append(t.ifaces, iface{
			Interface: Interface{Name: a.Name, Index: a.Index, MTU: a.MTU},
			loopback:  a.Flags&net.FlagLoopback != 0,
			addrs:     addrs,
		})
	}
	return t, nil
}

func addresses(l netlink.Link) ([]netip.Addr, error) {
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(a netlink.Addr) bool {
		return rank(a.IP) == 0 || a.Flags&(unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
	})
	slices.SortStableFunc(list, func(a, b netlink.Addr) int { return order(a) - order(b) })
	var addrs []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, ip.Unmap())
		}
	}
	return addrs, nil
}

// order puts global addresses before link-local ones, then permanent ones
// before those that may go away.
func order(a netlink.Addr) int {
	o := rank(a.IP) * 4
	if a.Flags&unix.IFA_F_PERMANENT == 0 {
		o += 2
	}
	if a.Flags&unix.IFA_F_TEMPORARY != 0 && a.IP.To4() == nil {
		o++
	}
	return o
}

// defaultRoute returns the interface of the default route with the lowest
// metric.
func defaultRoute(v6 bool) (int, error) {
	family := netlink.FAMILY_V4
	if v6 {
		family = netlink.FAMILY_V6
	}
	routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool {
		if r.Dst == nil {
			return false
		}
		ones, _ := r.Dst.Mask.Size()
		return ones != 0 || !r.Dst.IP.IsUnspecified()
	})
	if len(routes) == 0 {
		return 0, errors.New("Unable to find default route; name the interface with --iface")
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	if routes[0].LinkIndex <= 0 {
		return 0, errors.New("Found default route but could not determine interface: it has several; name one with --iface")
	}
	return routes[0].LinkIndex, nil
}

func reach(target netip.Addr) (int, netip.Addr, error) {
	routes, err := netlink.RouteGet(target.AsSlice())
	if err != nil {
		return 0, netip.Addr{}, err
	}
	for _, r := range routes {
		source, _ := netip.AddrFromSlice(r.Src)
		return r.LinkIndex, source.Unmap(), nil
	}
	return 0, netip.Addr{}, errors.New("no route")
}
