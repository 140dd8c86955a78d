package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

func follow(ctx context.Context, scope datapath.Scope, underlay string, wake chan<- struct{}) error {
	s, err := open(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("watch network changes: %w", err)
	}
	defer s.close()
	interrupt, err := s.park()
	if err != nil {
		return fmt.Errorf("watch network changes: %w", err)
	}
	defer context.AfterFunc(ctx, interrupt)()
	f := filter{scope: scope, underlay: underlay, indexes: make(map[int]bool), carriers: make(map[int]bool)}
	f.learn()
	signal := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	signal()
	for ctx.Err() == nil {
		relevant := false
		err := s.receive(func(h header, payload []byte) error {
			relevant = f.match(h.typ, payload) || relevant
			return nil
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // ctx is done
		case errors.Is(err, unix.ENOBUFS): // some were lost
			relevant = true
			f.learn()
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("watch network changes: %w", err)
		}
		if relevant {
			signal()
		}
	}
	return nil
}

// filter tells notifications that concern us from the many of a busy Docker
// host.
type filter struct {
	scope    datapath.Scope
	underlay string
	indexes  map[int]bool // our links (true) and the underlay (false)
	// carriers are other links that routes of ours lead to, or did. Of IPv4 routes
	// that go with their link or its last address there is no notification.
	carriers map[int]bool
}

// learn finds the links that are there. What it misses comes with its next
// notification.
func (f *filter) learn() {
	all, err := readLinks(f.scope)
	if err != nil {
		return
	}
	defer f.learnCarriers(all)
	for index, name := range all.names {
		if owned := all.owned[index] != ""; owned || name == f.underlay {
			f.indexes[index] = owned
		}
	}
}

// learnCarriers finds the links of the routes that are there.
func (f *filter) learnCarriers(all links) {
	s, err := open()
	if err != nil {
		return
	}
	defer s.close()
	r := reader{socket: s, seq: new(sequence), scope: f.scope, links: all}
	// Beside routes that it could not read there are others, which count.
	_ = r.dumpRoutes(f.carry)
}

// carry reads a RTM_NEWROUTE payload.
func (f *filter) carry(p []byte) {
	if route, index, ok := parseRoute(p); ok && f.ours(route) {
		f.carriers[index] = true
	}
}

// ours reports whether a route on any link is one that we have made.
func (f *filter) ours(r datapath.Route) bool {
	return r.Protocol == f.scope.Protocol && f.scope.InNetworks(r.Dst)
}

func (f *filter) match(typ uint16, p []byte) bool {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.link(typ, p)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(p) < unix.SizeofIfAddrmsg {
			return false
		}
		index := int(native.Uint32(p[4:]))
		return f.known(index) || f.carriers[index]
	case unix.RTM_DELNEIGH:
		return len(p) >= unix.SizeofNdMsg && f.indexes[int(native.Uint32(p[4:]))]
	case unix.RTM_NEWNEIGH:
		// What the kernel resolves by itself comes and goes.
		return len(p) >= unix.SizeofNdMsg && f.indexes[int(native.Uint32(p[4:]))] &&
			native.Uint16(p[8:])&unix.NUD_PERMANENT != 0
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		route, index, ok := parseRoute(p)
		if ok && typ == unix.RTM_NEWROUTE && f.ours(route) {
			f.carriers[index] = true
		}
		return ok && (f.indexes[index] && route.Protocol != datapath.ProtocolKernel || f.scope.InNetworks(route.Dst))
	}
	return false
}

func (f *filter) known(index int) bool {
	_, ok := f.indexes[index]
	return ok
}

func (f *filter) link(typ uint16, p []byte) bool {
	if len(p) < unix.SizeofIfInfomsg {
		return false
	}
	index := int(native.Uint32(p[4:]))
	var name, alias string
	attrs(p[unix.SizeofIfInfomsg:], func(typ uint16, data []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(data)
		case unix.IFLA_IFALIAS:
			alias = unix.ByteSliceToString(data)
		}
	})
	owned := f.scope.OwnsLink(name, alias)
	switch {
	case typ == unix.RTM_NEWLINK && (owned || name == f.underlay):
		f.indexes[index] = owned
		return true
	case f.known(index): // gone, or renamed
		delete(f.indexes, index)
		return true
	}
	return f.carriers[index]
}
