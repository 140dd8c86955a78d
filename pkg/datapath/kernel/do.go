package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

const (
	// batchSize is how many bytes of requests are given to the kernel in one call:
	// some 600 routes. More gains nothing.
	batchSize = 32 << 10
	// failureRoom is the most bytes of the receive queue that a failure takes; about
	// 1 KiB has been seen. All requests of a call may fail.
	failureRoom = 2 << 10
)

// Do implements datapath.Kernel. Consecutive operations on addresses, entries and
// routes share system calls; the kernel answers failures only, and the last of each
// call.
func (Kernel) Do(ctx context.Context, ops []datapath.Op) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer s.Close()
	b := batch{socket: s, index: make(map[string]int)}
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(b.errs, err)...)
		}
		if link, ok := op.Object.(datapath.Link); ok {
			b.flush()
			clear(b.index)
			b.note(op, doLink(op.Verb, link))
			continue
		}
		if filter, ok := op.Object.(datapath.Filter); ok {
			b.flush()
			b.note(op, doFilter(op.Verb, filter))
			continue
		}
		b.add(op)
	}
	b.flush()
	return errors.Join(b.errs...)
}

// batch collects requests and sends them together.
type batch struct {
	*socket
	index map[string]int // of links by name
	buf   buffer
	ops   []datapath.Op // in buf; the first has sequence number first
	first uint32
	errs  []error
}

// note keeps the error of an operation, if there is one, and if it does not say that
// what is to be deleted is gone.
func (b *batch) note(op datapath.Op, err error) {
	gone := errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV)
	if err == nil || gone && op.Verb == datapath.Delete {
		return
	}
	if n, ok := op.Object.(datapath.Neigh); ok && errors.Is(err, unix.ENOBUFS) {
		// Since Linux 5.0 permanent entries do not count.
		v := map[bool]int{true: 4, false: 6}[n.IP.Is4()]
		err = fmt.Errorf("%w: the kernel's neighbour table is full; raise net.ipv%d.neigh.default.gc_thresh3 (sysctl) well above the number of hosts", err, v)
	}
	b.errs = append(b.errs, &datapath.OpError{Op: op, Err: err})
}

func (b *batch) add(op datapath.Op) {
	index, err := b.linkIndex(op.Object.On())
	if err != nil {
		b.flush() // so that errors are in order
		b.note(op, err)
		return
	}
	b.encode(op, index)
	b.ops = append(b.ops, op)
	if len(b.buf.b) >= batchSize || len(b.ops) >= b.room/failureRoom {
		b.flush()
	}
}

// linkIndex looks a link up once per batch; 0 is for no link. It asks for that one
// link: a list of all costs as much as a hundred routes where there are a thousand
// containers, and can come back short.
func (b *batch) linkIndex(name string) (int, error) {
	if i, ok := b.index[name]; ok || name == "" {
		return i, nil
	}
	link, err := linkByName(name)
	if err != nil {
		return 0, err
	}
	b.index[name] = link.Attrs().Index
	return b.index[name], nil
}

// flush sends what was collected and reads the answers.
func (b *batch) flush() {
	n := len(b.ops)
	if n == 0 {
		return
	}
	defer func() { b.buf.b, b.ops, b.first = b.buf.b[:0], b.ops[:0], b.first+uint32(n) }()
	b.buf.orFlags(unix.NLM_F_ACK)
	err := b.exchange(b.buf.b, b.first, n, func(i int, h header, payload []byte) bool {
		b.note(b.ops[i], refusal(h, payload))
		return i == n-1
	})
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// begin starts the request for an operation on an object of which typ makes one.
func (b *batch) begin(v datapath.Verb, typ uint16) {
	seq := b.first + uint32(len(b.ops))
	if v == datapath.Delete {
		const del = unix.RTM_DELROUTE - unix.RTM_NEWROUTE // the same for all
		b.buf.begin(typ+del, 0, seq)
		return
	}
	b.buf.begin(typ, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, seq)
}

// encode appends the request for an operation on what hangs on a link, to the buffer.
func (b *batch) encode(op datapath.Op, index int) {
	switch o := op.Object.(type) {
	case datapath.Addr:
		b.begin(op.Verb, unix.RTM_NEWADDR)
		ip := o.Prefix.Addr()
		var flags uint8
		if ip.Is6() {
			// Nobody else is on the tunnel; a tentative address would hold up the
			// first packets for a second.
			flags = unix.IFA_F_NODAD
		}
		b.buf.ifaddrmsg(family(ip), uint8(o.Prefix.Bits()), flags, index)
		b.buf.attr(unix.IFA_LOCAL, ip.AsSlice())
		b.buf.attr(unix.IFA_ADDRESS, ip.AsSlice())
	case datapath.FDBEntry:
		b.begin(op.Verb, unix.RTM_NEWNEIGH)
		b.buf.ndmsg(unix.AF_BRIDGE, index, unix.NUD_PERMANENT, unix.NTF_SELF)
		b.buf.attr(unix.NDA_DST, o.Dst.AsSlice())
		b.buf.attr(unix.NDA_LLADDR, o.MAC[:])
	case datapath.Neigh:
		b.begin(op.Verb, unix.RTM_NEWNEIGH)
		b.buf.ndmsg(family(o.IP), index, unix.NUD_PERMANENT, 0)
		b.buf.attr(unix.NDA_DST, o.IP.AsSlice())
		b.buf.attr(unix.NDA_LLADDR, o.MAC[:]) // ignored when one is deleted
	case datapath.Route:
		b.begin(op.Verb, unix.RTM_NEWROUTE)
		b.route(op.Verb, o, index)
	}
	b.buf.end()
}

func (b *batch) route(v datapath.Verb, r datapath.Route, index int) {
	typ, scope, flags := uint8(unix.RTN_UNICAST), r.Level, uint32(0)
	switch {
	case v == datapath.Delete:
		scope = unix.RT_SCOPE_NOWHERE // any
	case !r.Gateway.IsValid() && r.Type == datapath.Unicast:
		scope = unix.RT_SCOPE_LINK
	}
	switch r.Type {
	case datapath.Blackhole:
		typ = unix.RTN_BLACKHOLE
	case datapath.OtherType:
		typ = unix.RTN_UNSPEC // any
	}
	if r.OnLink {
		flags = unix.RTNH_F_ONLINK
	}
	b.buf.b = append(b.buf.b, family(r.Dst.Addr()), uint8(r.Dst.Bits()), 0, 0, unix.RT_TABLE_MAIN, r.Protocol, scope, typ)
	b.buf.b = native.AppendUint32(b.buf.b, flags)
	b.buf.attr(unix.RTA_DST, r.Dst.Addr().AsSlice())
	if r.Gateway.IsValid() {
		b.buf.attr(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if index != 0 {
		b.buf.attr(unix.RTA_OIF, native.AppendUint32(nil, uint32(index)))
	}
	if r.Metric != 0 {
		b.buf.attr(unix.RTA_PRIORITY, native.AppendUint32(nil, r.Metric))
	}
}
