// Package kernel carries datapath operations out over rtnetlink, in the network
// namespace of the calling thread. Links go through the netlink library;
// addresses, entries and routes, of which there are thousands, are sent many
// to a system call.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netif"
)

// Kernel implements datapath.Kernel. It is safe for concurrent use.
type Kernel struct{}

// Read implements datapath.Kernel.
func (Kernel) Read(_ context.Context, scope datapath.Scope) (datapath.State, error) {
	return undisturbed(func() (datapath.State, error) { return read(scope) })
}

// undisturbed takes a dump that a change interrupts again. On a host whose tables change
// all the time the last one has to do: what changed meanwhile comes with a notification
// of its own.
func undisturbed[T any](dump func() (T, error)) (T, error) {
	got, err := netif.Dump(dump)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return got, err
}

// LinkMTU returns the MTU in bytes of any link. The error is ENODEV if no link has
// the name.
func (Kernel) LinkMTU(_ context.Context, name string) (int, error) {
	link, err := linkByName(name)
	if err != nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, err)
	}
	return link.Attrs().MTU, nil
}

// lookupBatch is how many destinations are asked for in one call. Each answer
// takes more than 4 KiB of the receive queue, which would overflow beyond some
// 1,800; and more gains nothing.
const lookupBatch = 256

// NextHops asks the kernel's routing, all rules and tables included, where packets to
// the destinations go, from that one of the sources which is of their family, and answers
// in their order. The NextHop is zero for a
// destination that cannot be reached, that is an address of this host, or that is
// reached through a link of the scope or by an encapsulating route: a tunnel cannot
// run over these.
func (Kernel) NextHops(ctx context.Context, scope datapath.Scope, sources, dsts []netip.Addr) ([]datapath.NextHop, error) {
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
		if err := s.lookup(sources, dsts[first:last], links, hops[first:last]); err != nil {
			return nil, fmt.Errorf("look up %d routes: %w", len(dsts), err)
		}
	}
	return hops, nil
}

// Watch puts a token into wake, which has capacity one, whenever something changes
// that the scope covers or that concerns the named underlay interface, until ctx is
// done. A token means "look again": one comes at the start, since earlier changes went
// unseen, and one after a lost notification.
func (Kernel) Watch(ctx context.Context, scope datapath.Scope, underlay string, wake chan<- struct{}) error {
	s, err := open(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("watch network changes: %w", err)
	}
	defer s.Close()
	f := filter{scope: scope, underlay: underlay, indexes: make(map[int]bool), carriers: make(map[int]bool)}
	look := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	unseen := func() { f.learn(); look() }
	unseen()
	return s.follow(ctx, func(h header, payload []byte) {
		if f.match(h.typ, payload) {
			look()
		}
	}, unseen)
}
