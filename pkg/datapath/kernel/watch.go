package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// Watch puts a token into wake, which has capacity one, whenever something
// changes that the scope covers or that concerns the named underlay interface,
// until ctx is done; and once at the start, since changes before it went unseen.
// Tokens carry no content: they mean "look again". A lost
// notification is one too.
func (k *Kernel) Watch(ctx context.Context, scope datapath.Scope, underlay string, wake chan<- struct{}) error {
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
	f := filter{scope: scope, underlay: underlay, indexes: make(map[int]bool)}
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
}

// learn finds the links that are there. What it misses comes with its next
// notification.
func (f *filter) learn() {
	all, err := readLinks(f.scope)
	if err != nil {
		return
	}
	for index, name := range all.names {
		if owned := all.owned[index] != ""; owned || name == f.underlay {
			f.indexes[index] = owned
		}
	}
}

func (f *filter) match(typ uint16, p []byte) bool {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.link(typ, p)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(p) >= unix.SizeofIfAddrmsg && f.known(int(native.Uint32(p[4:])))
	case unix.RTM_DELNEIGH:
		return len(p) >= unix.SizeofNdMsg && f.indexes[int(native.Uint32(p[4:]))]
	case unix.RTM_NEWNEIGH:
		// What the kernel resolves by itself comes and goes.
		return len(p) >= unix.SizeofNdMsg && f.indexes[int(native.Uint32(p[4:]))] &&
			native.Uint16(p[8:])&unix.NUD_PERMANENT != 0
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		route, index, ok := parseRoute(p)
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
	return false
}
