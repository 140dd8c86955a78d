package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// lookupBatch is how many destinations are asked for in one call. Each answer
// takes more than 4 KiB of the receive queue, which would overflow beyond some
// 1,800; and more gains nothing.
const lookupBatch = 256

// NextHops asks the kernel's routing, all rules and tables included, where packets to
// the destinations go, and answers in their order. The NextHop is zero for a
// destination that cannot be reached, that is an address of this host, or that is
// reached through a link of the scope or by an encapsulating route: a tunnel cannot
// run over these.
func (Kernel) NextHops(ctx context.Context, scope datapath.Scope, dsts []netip.Addr) ([]datapath.NextHop, error) {
	links, err := readLinks(scope)
	if err != nil {
		return nil, err
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	hops := make([]datapath.NextHop, len(dsts))
	for first := 0; first < len(dsts); first += lookupBatch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		last := min(first+lookupBatch, len(dsts))
		if err := s.lookup(dsts[first:last], links, hops[first:last]); err != nil {
			return nil, fmt.Errorf("look up %d routes: %w", len(dsts), err)
		}
	}
	return hops, nil
}

// lookup sends one batch and fills in the hops. A request is numbered by its
// place in the batch: nothing of an earlier one is left in the socket.
func (s *socket) lookup(dsts []netip.Addr, links links, hops []datapath.NextHop) error {
	var m buffer
	for i, dst := range dsts {
		m.begin(unix.RTM_GETROUTE, 0, uint32(i))
		m.b = append(m.b, family(dst), uint8(dst.BitLen()), 0, 0, unix.RT_TABLE_UNSPEC, 0, 0, 0)
		m.b = native.AppendUint32(m.b, 0)
		m.attr(unix.RTA_DST, dst.AsSlice())
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
