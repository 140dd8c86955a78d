package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// read takes every table once. If the only trouble was an interrupted dump the
// state is returned beside ErrDumpInterrupted.
func read(scope datapath.Scope) (datapath.State, error) {
	r, err := newReader(scope)
	if err != nil {
		return datapath.State{}, err
	}
	defer r.Close()
	for index, name := range r.links.owned {
		if err := r.entries(index, name); err != nil {
			return datapath.State{}, fmt.Errorf("list addresses and entries of %s: %w", name, err)
		}
	}
	if err := r.routes(r.addRoute); err != nil {
		return datapath.State{}, fmt.Errorf("list routes: %w", err)
	}
	if err := r.filters(); err != nil {
		return datapath.State{}, fmt.Errorf("list filters: %w", err)
	}
	if r.interrupted {
		return r.state, netlink.ErrDumpInterrupted
	}
	return r.state, nil
}

type reader struct {
	*socket
	seq         uint32
	scope       datapath.Scope
	links       links
	state       datapath.State
	interrupted bool // a dump at least
}

func newReader(scope datapath.Scope) (*reader, error) {
	links, err := readLinks(scope)
	if err != nil {
		return nil, err
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	return &reader{socket: s, scope: scope, links: links, state: datapath.State{Links: links.state}}, nil
}

// table asks for a table; body appends the request's fixed part and attributes.
func (r *reader) table(typ uint16, body func(*buffer), f func(payload []byte)) error {
	var m buffer
	r.seq++
	m.begin(typ, unix.NLM_F_DUMP, r.seq)
	body(&m)
	m.end()
	err := r.dump(m.b, r.seq, f)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		r.interrupted = true
		return nil
	}
	return err
}

// entries reads all that hangs on a link but its routes.
func (r *reader) entries(index int, link string) error {
	for _, t := range []struct {
		typ    uint16
		family uint8
	}{
		{unix.RTM_GETADDR, unix.AF_UNSPEC},
		{unix.RTM_GETNEIGH, unix.AF_BRIDGE}, {unix.RTM_GETNEIGH, unix.AF_INET}, {unix.RTM_GETNEIGH, unix.AF_INET6},
	} {
		err := r.table(t.typ, func(m *buffer) {
			if t.typ == unix.RTM_GETADDR {
				m.ifaddrmsg(t.family, 0, 0, index)
				return
			}
			m.ndmsg(t.family, 0, 0, 0)
			m.attr(unix.NDA_IFINDEX, native.AppendUint32(nil, uint32(index)))
		}, func(p []byte) {
			switch {
			case len(p) < unix.SizeofIfAddrmsg || int(native.Uint32(p[4:])) != index:
			case t.typ == unix.RTM_GETADDR:
				r.addAddr(link, p)
			case len(p) >= unix.SizeofNdMsg:
				r.addNeigh(link, t.family, p)
			}
		})
		if errors.Is(err, unix.ENODEV) {
			r.interrupted = true // the link went since the links were read
		} else if err != nil {
			return err
		}
	}
	return nil
}

// add appends to a table that may become long. It doubles what append makes a quarter
// larger, which would leave five times as much garbage as there is in the table.
func add[T any](table []T, one T) []T {
	if len(table) == cap(table) {
		table = slices.Grow(table, max(len(table), 16))
	}
	return append(table, one)
}

// addAddr takes a struct ifaddrmsg and its attributes.
func (r *reader) addAddr(link string, p []byte) {
	a := attrs(p[unix.SizeofIfAddrmsg:])
	ip := toAddr(a[unix.IFA_LOCAL])
	if !ip.IsValid() { // IPv6 has the address only
		ip = toAddr(a[unix.IFA_ADDRESS])
	}
	if !ip.IsValid() || ip.Is6() && ip.IsLinkLocalUnicast() {
		return // fe80:: comes from the kernel
	}
	r.state.Addrs = add(r.state.Addrs, datapath.Addr{Link: link, Prefix: netip.PrefixFrom(ip, int(p[1]))})
}

// addNeigh takes a struct ndmsg and its attributes. All that is not permanent is
// the kernel's own: what it learned or resolved, and the NOARP neighbours of
// multicast groups.
func (r *reader) addNeigh(link string, family uint8, p []byte) {
	a := attrs(p[unix.SizeofNdMsg:])
	ip, mac := toAddr(a[unix.NDA_DST]), datapath.MAC{}
	copy(mac[:], a[unix.NDA_LLADDR])
	// One that leads to another port, VNI or interface than its link does gets no
	// address: it differs from all of ours, and to delete it with no address deletes
	// it whatever it leads to.
	odd := a[unix.NDA_PORT] != nil || a[unix.NDA_VNI] != nil || a[unix.NDA_IFINDEX] != nil
	if odd && ip.Is4() {
		ip = netip.IPv4Unspecified()
	} else if odd && ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	state := native.Uint16(p[8:])
	switch {
	case !ip.IsValid():
	case family == unix.AF_BRIDGE && state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0:
		r.state.FDB = add(r.state.FDB, datapath.FDBEntry{Link: link, MAC: mac, Dst: ip})
	case family != unix.AF_BRIDGE && state&unix.NUD_PERMANENT != 0:
		r.state.Neighs = add(r.state.Neighs, datapath.Neigh{Link: link, IP: ip, MAC: mac})
	}
}

// routes calls f with the payload for each route of the main table, and some
// others.
func (r *reader) routes(f func(payload []byte)) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := r.table(unix.RTM_GETROUTE, func(m *buffer) {
			m.b = append(m.b, family, 0, 0, 0, unix.RT_TABLE_MAIN, 0, 0, 0, 0, 0, 0, 0)
		}, f)
		// ENOENT: no route was ever made in that family, and the table is not there.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func (r *reader) addRoute(p []byte) {
	if route, index, ok := parseRoute(p); ok {
		route.Link = r.links.names[index]
		if covered, ok := r.scope.Route(route, r.links.owned[index] != ""); ok {
			r.state.Routes = add(r.state.Routes, covered)
		}
	}
}

// parseRoute reads a RTM_NEWROUTE payload; index is the link's, zero if it has
// none. Routes of other tables are not ok.
func parseRoute(p []byte) (route datapath.Route, index int, ok bool) {
	if len(p) < unix.SizeofRtMsg {
		return route, 0, false
	}
	tos, table, protocol, typ := p[3], p[4], p[5], p[7]
	flags := native.Uint32(p[8:])
	if table != unix.RT_TABLE_MAIN || tos != 0 || flags&unix.RTM_F_CLONED != 0 {
		return route, 0, false
	}
	a := attrs(p[unix.SizeofRtMsg:])
	route = datapath.Route{
		Gateway: toAddr(a[unix.RTA_GATEWAY]), OnLink: flags&unix.RTNH_F_ONLINK != 0,
		Metric: toUint32(a[unix.RTA_PRIORITY]), Protocol: protocol,
	}
	index = int(toUint32(a[unix.RTA_OIF]))
	// The first of struct rtnexthop says whose it is.
	hops := a[unix.RTA_MULTIPATH]
	if len(hops) >= unix.SizeofRtNexthop && index == 0 {
		index = int(native.Uint32(hops[4:]))
	}
	dst := netip.IPv4Unspecified()
	if p[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	if b := a[unix.RTA_DST]; b != nil {
		dst = toAddr(b)
	}
	switch {
	case hops != nil, a[unix.RTA_PREFSRC] != nil, a[unix.RTA_METRICS] != nil, a[unix.RTA_VIA] != nil, a[unix.RTA_ENCAP] != nil:
		// Ours have none of these, so it differs from all of ours.
		route.Type = datapath.OtherType
	case typ == unix.RTN_BLACKHOLE:
		route.Type = datapath.Blackhole
		index = 0 // IPv6 names the loopback device, IPv4 none
	case typ != unix.RTN_UNICAST:
		route.Type = datapath.OtherType
	}
	route.Dst = netip.PrefixFrom(dst, int(p[1]))
	return route, index, route.Dst.IsValid()
}
