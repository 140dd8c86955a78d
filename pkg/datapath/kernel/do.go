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

var errNoLink = fmt.Errorf("no such link: %w", unix.ENODEV)

// do carries operations out. Consecutive ones on addresses, entries and routes
// share system calls; the kernel answers failures only, and the last of each call.
func do(ctx context.Context, seq *sequence, ops []datapath.Op) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer s.close()
	b := batch{socket: s, seq: seq, index: make(map[string]int)}
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(b.errs, err)...)
		}
		if link, ok := op.Object.(datapath.Link); ok {
			b.flush()
			clear(b.index)
			if err := doLink(op.Verb, link); err != nil {
				b.fail(op, err)
			}
			continue
		}
		b.add(op)
	}
	b.flush()
	return errors.Join(b.errs...)
}

// batch collects requests and sends them together.
type batch struct {
	socket *socket
	seq    *sequence
	index  map[string]int // of links by name
	buf    buffer
	ops    []datapath.Op // in buf; the first has sequence number first
	first  uint32
	errs   []error
}

func (b *batch) fail(op datapath.Op, err error) {
	if n, ok := op.Object.(datapath.Neigh); ok && errors.Is(err, unix.ENOBUFS) {
		// Since Linux 5.0 permanent entries do not count.
		v := map[bool]int{true: 4, false: 6}[n.IP.Is4()]
		err = fmt.Errorf("%w: the kernel's neighbour table is full; raise net.ipv%d.neigh.default.gc_thresh3 (sysctl) well above the number of hosts", err, v)
	}
	b.errs = append(b.errs, &datapath.OpError{Op: op, Err: err})
}

func (b *batch) add(op datapath.Op) {
	seq := b.seq.next()
	// Numbers within a batch must follow each other, so that an answer finds
	// its operation; somebody else's in between starts a new batch.
	if len(b.ops) > 0 && seq != b.first+uint32(len(b.ops)) {
		b.flush()
	}
	if len(b.ops) == 0 {
		b.first = seq
	}
	start := len(b.buf.b)
	if err := b.encode(op, seq); err != nil {
		b.buf.b = b.buf.b[:start]
		b.flush()
		if !harmless(op, err) {
			b.fail(op, err)
		}
		return
	}
	b.ops = append(b.ops, op)
	if len(b.buf.b) >= batchSize || len(b.ops) >= b.socket.room/failureRoom {
		b.flush()
	}
}

// flush sends what was collected and reads the answers.
func (b *batch) flush() {
	if len(b.ops) == 0 {
		return
	}
	defer func() { b.buf.b, b.ops = b.buf.b[:0], b.ops[:0] }()
	b.buf.orFlags(unix.NLM_F_ACK)
	if err := b.socket.send(b.buf.b); err != nil {
		b.errs = append(b.errs, fmt.Errorf("send %d netlink requests: %w", len(b.ops), err))
		return
	}
	last := b.first + uint32(len(b.ops)) - 1
	for done := false; !done; {
		err := b.socket.receive(func(h header, payload []byte) error {
			i := int(h.seq - b.first)
			if h.typ != unix.NLMSG_ERROR || i < 0 || i >= len(b.ops) {
				return nil
			}
			done = done || h.seq == last
			if err := refusal(h, payload); err != nil && !harmless(b.ops[i], err) {
				b.fail(b.ops[i], err)
			}
			return nil
		})
		if err != nil {
			b.errs = append(b.errs, fmt.Errorf("receive netlink answers: %w", err))
			return
		}
	}
}

// harmless reports whether err says that what is to be deleted is gone.
func harmless(op datapath.Op, err error) bool {
	return op.Verb == datapath.Delete && (errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV))
}

func (b *batch) encode(op datapath.Op, seq uint32) error {
	switch o := op.Object.(type) {
	case datapath.Addr:
		return b.addr(op.Verb, o, seq)
	case datapath.FDBEntry:
		return b.neigh(op.Verb, unix.AF_BRIDGE, o.Link, o.Dst, o.MAC, unix.NTF_SELF, seq)
	case datapath.Neigh:
		return b.neigh(op.Verb, family(o.IP), o.Link, o.IP, o.MAC, 0, seq)
	case datapath.Route:
		return b.route(op.Verb, o, seq)
	}
	return fmt.Errorf("unknown object %T", op.Object)
}

func (b *batch) addr(v datapath.Verb, a datapath.Addr, seq uint32) error {
	index, err := b.linkIndex(a.Link)
	if err != nil {
		return err
	}
	b.buf.begin(pick(v, unix.RTM_NEWADDR, unix.RTM_DELADDR), create(v), seq)
	var flags uint8
	if a.Prefix.Addr().Is6() {
		// Nobody else is on the tunnel; a tentative address would hold up the
		// first packets for a second.
		flags = unix.IFA_F_NODAD
	}
	b.buf.b = append(b.buf.b, family(a.Prefix.Addr()), uint8(a.Prefix.Bits()), flags, unix.RT_SCOPE_UNIVERSE)
	b.buf.b = native.AppendUint32(b.buf.b, uint32(index))
	b.buf.addr(unix.IFA_LOCAL, a.Prefix.Addr())
	b.buf.addr(unix.IFA_ADDRESS, a.Prefix.Addr())
	b.buf.end()
	return nil
}

func (b *batch) neigh(v datapath.Verb, fam uint8, link string, ip addr, mac datapath.MAC, flags uint8, seq uint32) error {
	index, err := b.linkIndex(link)
	if err != nil {
		return err
	}
	b.buf.begin(pick(v, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH), create(v), seq)
	b.buf.ndmsg(fam, index, unix.NUD_PERMANENT, flags, 0)
	b.buf.addr(unix.NDA_DST, ip)
	if v != datapath.Delete || fam == unix.AF_BRIDGE {
		b.buf.attr(unix.NDA_LLADDR, mac[:])
	}
	b.buf.end()
	return nil
}

func (b *batch) route(v datapath.Verb, r datapath.Route, seq uint32) error {
	var index int
	if r.Link != "" {
		var err error
		if index, err = b.linkIndex(r.Link); err != nil {
			return err
		}
	}
	typ, scope, flags := uint8(unix.RTN_UNICAST), uint8(unix.RT_SCOPE_UNIVERSE), uint32(0)
	switch {
	case v == datapath.Delete:
		scope = unix.RT_SCOPE_NOWHERE // any
	case !r.Gateway.IsValid() && r.Type == datapath.Unicast:
		scope = unix.RT_SCOPE_LINK
	}
	if r.Type == datapath.Blackhole {
		typ = unix.RTN_BLACKHOLE
	}
	if r.Type == datapath.OtherType {
		typ = unix.RTN_UNSPEC // any
	}
	if r.OnLink {
		flags = unix.RTNH_F_ONLINK
	}
	b.buf.begin(pick(v, unix.RTM_NEWROUTE, unix.RTM_DELROUTE), create(v), seq)
	b.buf.b = append(b.buf.b, family(r.Dst.Addr()), uint8(r.Dst.Bits()), 0, 0, unix.RT_TABLE_MAIN, r.Protocol, scope, typ)
	b.buf.b = native.AppendUint32(b.buf.b, flags)
	b.buf.addr(unix.RTA_DST, r.Dst.Addr())
	if r.Gateway.IsValid() {
		b.buf.addr(unix.RTA_GATEWAY, r.Gateway)
	}
	if index != 0 {
		b.buf.attr32(unix.RTA_OIF, uint32(index))
	}
	if r.Metric != 0 {
		b.buf.attr32(unix.RTA_PRIORITY, r.Metric)
	}
	b.buf.end()
	return nil
}

func pick(v datapath.Verb, set, del uint16) uint16 {
	if v == datapath.Delete {
		return del
	}
	return set
}

func create(v datapath.Verb) uint16 {
	if v == datapath.Delete {
		return 0
	}
	return unix.NLM_F_CREATE | unix.NLM_F_REPLACE
}
