package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// WatchLost calls lost each time that this host has lost an address, until ctx is done;
// then it returns nil. It also calls it when losses may have gone unseen, since there
// were more changes than the kernel's queue holds. An error says that none can be seen.
func WatchLost(ctx context.Context, lost func()) error {
	s, err := open(unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer s.Close()
	return s.follow(ctx, func(h header, _ []byte) {
		if h.typ == unix.RTM_DELADDR {
			lost()
		}
	}, lost)
}

// filter tells notifications that concern us from the many of a busy Docker
// host.
type filter struct {
	scope    datapath.Scope
	underlay string
	indexes  map[int]bool // our links (true) and the underlay (false)
	// carriers are other links that routes of ours lead to, or did. The kernel does not
	// notify of IPv4 routes that go with their link or its last address.
	carriers map[int]bool
}

// learn finds the links that are there, and those of the routes that are there.
// What it misses comes with its next notification.
func (f *filter) learn() {
	r, err := newReader(f.scope)
	if err != nil {
		return
	}
	defer r.Close()
	for index, name := range r.links.names {
		if owned := r.links.owned[index] != ""; owned || name == f.underlay {
			f.indexes[index] = owned
		}
	}
	_ = r.routes(func(p []byte) { f.match(unix.RTM_NEWROUTE, p) })
}

func (f *filter) match(typ uint16, p []byte) bool {
	if len(p) < unix.SizeofIfAddrmsg { // the shortest of all
		return false
	}
	index := int(native.Uint32(p[4:])) // of all but routes
	owned, known := f.indexes[index]
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.link(typ, index, p)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// Others are rare, but those that each container's interface gives itself (fe80::),
		// and say what this host reaches without us, or by which address it is reached.
		return known || f.carriers[index] || p[3] != unix.RT_SCOPE_LINK
	case unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER, unix.RTM_DELQDISC:
		return known
	case unix.RTM_DELNEIGH:
		return owned
	case unix.RTM_NEWNEIGH:
		// What the kernel resolves by itself comes and goes.
		return owned && len(p) >= unix.SizeofNdMsg && native.Uint16(p[8:])&unix.NUD_PERMANENT != 0
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		route, index, ok := parseRoute(p)
		inside := ok && f.scope.InNetworks(route.Dst)
		if inside && typ == unix.RTM_NEWROUTE && route.Protocol == f.scope.Protocol { // we have made it
			f.carriers[index] = true
		}
		return inside || ok && f.indexes[index] && route.Protocol != datapath.ProtocolKernel
	}
	return false
}

func (f *filter) link(typ uint16, index int, p []byte) bool {
	if len(p) < unix.SizeofIfInfomsg {
		return false
	}
	a := attrs(p[unix.SizeofIfInfomsg:])
	name := unix.ByteSliceToString(a[unix.IFLA_IFNAME])
	owned := f.scope.OwnsLink(name, unix.ByteSliceToString(a[unix.IFLA_IFALIAS]))
	_, known := f.indexes[index]
	switch {
	case typ == unix.RTM_NEWLINK && (owned || name == f.underlay):
		f.indexes[index] = owned
		return true
	case known: // gone, or renamed
		delete(f.indexes, index)
		return true
	}
	return f.carriers[index]
}
