package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// Neighbours returns the stations on a link, whosever it is, as the kernel has
// resolved them or was told: those whose Ethernet address it holds for true, and
// sends to, at this moment. There may be several of one address, and several
// addresses of one station. A link that is not there has none.
func (k *Kernel) Neighbours(_ context.Context, link string) ([]datapath.Neigh, error) {
	l, err := netlink.LinkByName(link)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", link, err)
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	defer s.close()
	r := reader{socket: s, seq: &k.seq}
	index := l.Attrs().Index
	var all []datapath.Neigh
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := r.dump(unix.RTM_GETNEIGH, func(m *buffer) {
			m.ndmsg(family, 0, 0, 0, 0)
			m.attr32(unix.NDA_IFINDEX, uint32(index))
		}, func(p []byte) {
			if n, at, ok := parseStation(p); ok && at == index {
				n.Link = link
				all = append(all, n)
			}
		})
		// What an interrupted dump missed comes with a notification of its own.
		if err != nil && !errors.Is(err, errInterrupted) {
			return nil, fmt.Errorf("list neighbours on %s: %w", link, err)
		}
	}
	return all, nil
}

// resolved are the states of an entry in which the kernel uses its Ethernet address.
const resolved = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

// parseStation reads an entry of the tables of IPv4 or IPv6. One that has no Ethernet
// address, or none that is used, is not ok.
func parseStation(p []byte) (n datapath.Neigh, index int, ok bool) {
	if len(p) < unix.SizeofNdMsg || p[0] != unix.AF_INET && p[0] != unix.AF_INET6 {
		return n, 0, false
	}
	index = int(native.Uint32(p[4:]))
	if native.Uint16(p[8:])&resolved == 0 {
		return n, index, false
	}
	attrs(p[unix.SizeofNdMsg:], func(typ uint16, data []byte) {
		switch {
		case typ == unix.NDA_DST:
			n.IP = toAddr(data)
		case typ == unix.NDA_LLADDR && len(data) == len(n.MAC):
			copy(n.MAC[:], data)
		}
	})
	return n, index, n.IP.IsValid() && n.MAC.Unicast()
}

// WatchNeighbours puts a token into wake, which has capacity one, whenever an entry
// of a neighbour on the named link has changed or there may be another link of that
// name, until ctx is done; and once at the start. Entries that are only used, or
// confirmed, are among them.
func (k *Kernel) WatchNeighbours(ctx context.Context, link string, wake chan<- struct{}) error {
	s, err := open(unix.RTNLGRP_NEIGH, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	defer s.close()
	interrupt, err := s.park()
	if err != nil {
		return fmt.Errorf("watch neighbours: %w", err)
	}
	defer context.AfterFunc(ctx, interrupt)()
	index := 0 // 0: not known
	look := func() {
		index = 0
		if l, err := netlink.LinkByName(link); err == nil {
			index = l.Attrs().Index
		}
	}
	signal := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	look()
	signal()
	for ctx.Err() == nil {
		var changed, links bool
		err := s.receive(func(h header, p []byte) error {
			switch h.typ {
			case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
				changed = changed || len(p) >= unix.SizeofNdMsg && int(native.Uint32(p[4:])) == index && p[0] != unix.AF_BRIDGE
			case unix.RTM_NEWLINK, unix.RTM_DELLINK:
				links = true
			}
			return nil
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // ctx is done
		case errors.Is(err, unix.ENOBUFS): // some were lost
			changed, links = true, true
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("watch neighbours: %w", err)
		}
		if links {
			before := index
			look()
			changed = changed || index != before
		}
		if changed {
			signal()
		}
	}
	return nil
}
