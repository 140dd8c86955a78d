package kernel

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// lookup sends one batch and fills in the hops. A request is numbered by its
// place in the batch: nothing of an earlier one is left in the socket.
func (s *socket) lookup(sources, dsts []netip.Addr, links links, hops []datapath.NextHop) error {
	var m buffer
	for i, dst := range dsts {
		var from netip.Addr
		if at := slices.IndexFunc(sources, func(a netip.Addr) bool { return a.BitLen() == dst.BitLen() }); at >= 0 {
			from = sources[at]
		}
		m.begin(unix.RTM_GETROUTE, 0, uint32(i))
		m.b = append(m.b, family(dst), uint8(dst.BitLen()), uint8(from.BitLen()), 0, unix.RT_TABLE_UNSPEC, 0, 0, 0)
		m.b = native.AppendUint32(m.b, 0)
		m.attr(unix.RTA_DST, dst.AsSlice())
		if from.IsValid() {
			m.attr(unix.RTA_SRC, from.AsSlice())
		}
		m.end()
	}
	answers := 0
	return s.exchange(m.b, 0, len(dsts), func(i int, h header, payload []byte) bool {
		if h.typ == unix.RTM_NEWROUTE { // else the error that says why not
			hops[i] = parseNextHop(payload, links)
		}
		answers++
		return answers == len(dsts)
	})
}

func parseNextHop(p []byte, links links) datapath.NextHop {
	if len(p) < unix.SizeofRtMsg || p[7] != unix.RTN_UNICAST {
		return datapath.NextHop{}
	}
	a := attrs(p[unix.SizeofRtMsg:])
	index := int(toUint32(a[unix.RTA_OIF]))
	hop := datapath.NextHop{Link: links.names[index], Gateway: toAddr(a[unix.RTA_GATEWAY])}
	if via := a[unix.RTA_VIA]; len(via) > 2 { // a gateway of the other family (RFC 5549)
		hop.Gateway = toAddr(via[2:])
	}
	if hop.Link == "" || links.owned[index] != "" || a[unix.RTA_ENCAP] != nil {
		return datapath.NextHop{}
	}
	return hop
}
