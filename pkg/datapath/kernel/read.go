package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// readOnce takes every table once. If the only trouble was an interrupted dump
// the state is returned beside errInterrupted.
func readOnce(seq *sequence, scope datapath.Scope) (datapath.State, error) {
	links, err := readLinks(scope)
	if err != nil {
		return datapath.State{}, fmt.Errorf("list links: %w", err)
	}
	s, err := open()
	if err != nil {
		return datapath.State{}, err
	}
	defer s.close()
	r := reader{socket: s, seq: seq, scope: scope, links: links}
	r.state.Links = links.state
	var interrupted bool
	for _, table := range []struct {
		name string
		read func() error
	}{
		{"addresses", r.addrs}, {"forwarding entries", r.fdb},
		{"neighbours", r.neighs}, {"routes", r.routes},
	} {
		switch err := table.read(); {
		case errors.Is(err, errInterrupted):
			interrupted = true
		case err != nil:
			return datapath.State{}, fmt.Errorf("list %s: %w", table.name, err)
		}
	}
	if interrupted {
		return r.state, errInterrupted
	}
	return r.state, nil
}

type reader struct {
	socket *socket
	seq    *sequence
	scope  datapath.Scope
	links  links
	state  datapath.State
}

// dump asks for a table; body appends the request's fixed part and attributes.
func (r *reader) dump(typ uint16, body func(*buffer), f func(payload []byte)) error {
	var m buffer
	seq := r.seq.next()
	m.begin(typ, unix.NLM_F_DUMP, seq)
	body(&m)
	m.end()
	return r.socket.dump(m.b, seq, func(_ uint16, payload []byte) { f(payload) })
}

func (r *reader) addrs() error {
	var first error
	for index, name := range r.links.owned {
		err := r.dump(unix.RTM_GETADDR, func(m *buffer) {
			m.b = append(m.b, unix.AF_UNSPEC, 0, 0, 0)
			m.b = native.AppendUint32(m.b, uint32(index))
		}, func(p []byte) {
			if len(p) < unix.SizeofIfAddrmsg || int(native.Uint32(p[4:])) != index {
				return
			}
			r.addAddr(name, int(p[1]), p[unix.SizeofIfAddrmsg:])
		})
		if errors.Is(err, unix.ENODEV) {
			err = errInterrupted // the link went since the links were read
		}
		first = worse(first, err)
	}
	return first
}

func (r *reader) addAddr(link string, bits int, tail []byte) {
	var local, address netip.Addr
	attrs(tail, func(typ uint16, data []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local = toAddr(data)
		case unix.IFA_ADDRESS:
			address = toAddr(data)
		}
	})
	if !local.IsValid() { // IPv6 has the address only
		local = address
	}
	if !local.IsValid() || local.Is6() && local.IsLinkLocalUnicast() {
		return // fe80:: comes from the kernel
	}
	r.state.Addrs = append(r.state.Addrs, datapath.Addr{Link: link, Prefix: netip.PrefixFrom(local, bits)})
}

func (r *reader) fdb() error {
	var first error
	for index, name := range r.links.owned {
		err := r.dump(unix.RTM_GETNEIGH, func(m *buffer) {
			m.ndmsg(unix.AF_BRIDGE, 0, 0, 0, 0)
			m.attr32(unix.NDA_IFINDEX, uint32(index))
		}, func(p []byte) {
			if len(p) < unix.SizeofNdMsg || int(native.Uint32(p[4:])) != index {
				return
			}
			if native.Uint16(p[8:])&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 {
				return // learned by the device
			}
			ip, mac := dstAndMAC(p[unix.SizeofNdMsg:])
			if ip.IsValid() {
				r.state.FDB = append(r.state.FDB, datapath.FDBEntry{Link: name, MAC: mac, Dst: ip})
			}
		})
		first = worse(first, err)
	}
	return first
}

func (r *reader) neighs() error {
	var first error
	for index, name := range r.links.owned {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			err := r.dump(unix.RTM_GETNEIGH, func(m *buffer) {
				m.ndmsg(family, 0, 0, 0, 0)
				m.attr32(unix.NDA_IFINDEX, uint32(index))
			}, func(p []byte) {
				if len(p) < unix.SizeofNdMsg || int(native.Uint32(p[4:])) != index {
					return
				}
				// All else is the kernel's own: what it resolved, and the
				// NOARP entries of multicast groups.
				if native.Uint16(p[8:])&unix.NUD_PERMANENT == 0 {
					return
				}
				ip, mac := dstAndMAC(p[unix.SizeofNdMsg:])
				if ip.IsValid() {
					r.state.Neighs = append(r.state.Neighs, datapath.Neigh{Link: name, IP: ip, MAC: mac})
				}
			})
			first = worse(first, err)
		}
	}
	return first
}

// dstAndMAC reads an entry. One that leads to another port, VNI or interface
// than its link does has no address: it differs from all of ours, and to delete
// it with no address deletes it whatever it leads to.
func dstAndMAC(tail []byte) (ip netip.Addr, mac datapath.MAC) {
	var odd bool
	attrs(tail, func(typ uint16, data []byte) {
		switch typ {
		case unix.NDA_DST:
			ip = toAddr(data)
		case unix.NDA_LLADDR:
			copy(mac[:], data)
		case unix.NDA_PORT, unix.NDA_VNI, unix.NDA_IFINDEX:
			odd = true
		}
	})
	if odd && ip.Is4() {
		ip = netip.IPv4Unspecified()
	} else if odd && ip.IsValid() {
		ip = netip.IPv6Unspecified()
	}
	return ip, mac
}

func (r *reader) routes() error { return r.dumpRoutes(r.addRoute) }

// dumpRoutes calls f with the payload for each route of the main table, and some
// others.
func (r *reader) dumpRoutes(f func(payload []byte)) error {
	var first error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := r.dump(unix.RTM_GETROUTE, func(m *buffer) {
			m.b = append(m.b, family, 0, 0, 0, unix.RT_TABLE_MAIN, 0, 0, 0, 0, 0, 0, 0)
		}, f)
		if errors.Is(err, unix.ENOENT) {
			err = nil // no route was ever made in that family: the table is not there
		}
		first = worse(first, err)
	}
	return first
}

func (r *reader) addRoute(p []byte) {
	if route, index, ok := parseRoute(p); ok {
		route.Link = r.links.names[index]
		if covered, ok := r.scope.Route(route, r.links.owned[index] != ""); ok {
			r.state.Routes = append(r.state.Routes, covered)
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
	route.Protocol = protocol
	route.OnLink = flags&unix.RTNH_F_ONLINK != 0
	switch typ {
	case unix.RTN_UNICAST:
	case unix.RTN_BLACKHOLE:
		route.Type = datapath.Blackhole
	default:
		route.Type = datapath.OtherType
	}
	dst := netip.IPv4Unspecified()
	if p[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	attrs(p[unix.SizeofRtMsg:], func(typ uint16, data []byte) {
		switch typ {
		case unix.RTA_DST:
			dst = toAddr(data)
		case unix.RTA_GATEWAY:
			route.Gateway = toAddr(data)
		case unix.RTA_OIF:
			index = int(toUint32(data))
		case unix.RTA_PRIORITY:
			route.Metric = toUint32(data)
		case unix.RTA_MULTIPATH:
			// Whose it is, the first of struct rtnexthop says.
			if len(data) >= unix.SizeofRtNexthop && index == 0 {
				index = int(native.Uint32(data[4:]))
			}
			route.Type = datapath.OtherType
		case unix.RTA_PREFSRC, unix.RTA_METRICS, unix.RTA_VIA, unix.RTA_ENCAP:
			// Ours have none of these, so it differs from all of ours.
			route.Type = datapath.OtherType
		}
	})
	if route.Type == datapath.Blackhole {
		index = 0 // IPv6 names the loopback device, IPv4 none
	}
	route.Dst = netip.PrefixFrom(dst, int(p[1]))
	return route, index, route.Dst.IsValid()
}

// worse keeps the first error that is more than an interrupted dump.
func worse(a, b error) error {
	if a == nil || errors.Is(a, errInterrupted) && b != nil {
		return b
	}
	return a
}
