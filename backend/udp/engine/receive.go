package engine

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
)

// admission is the last packet that was let in: the next is likely to be of the
// same flow.
type admission struct {
	f        *forwarding
	from     uint32
	src, dst uint32
}

// enough bytes received at once say that more are on their way.
const enough = 32 << 10

// receive writes what the socket has to the device. It reports whether it did
// anything.
//
// A run of packets that one call ends in the middle of goes on with the next one,
// if that is due at once: a network card that hands on single datagrams would
// otherwise get two short packets out of each 64 where one does.
func (q *queue) receive(f *forwarding) bool {
	q.in, q.last = q.last, q.in
	switch errno := q.conn.Receive(q.in); errno {
	case 0:
	case unix.EAGAIN:
		q.coalescer.Flush()
		return false
	case unix.EBADF, unix.ENOTSOCK:
		q.err = fmt.Errorf("receive: %w", errno)
		return false
	default:
		// An error that an earlier datagram met on its way; it is told once.
		q.coalescer.Flush()
		q.counters.rx.drop(reasonOf(errno), 1)
		q.failures++
		return false
	}
	rx := &q.counters.rx
	carried, written := q.coalescer.Waiting() > 0, rx.units.Load()
	var packets, bytes int
	for i := range q.in.Len() {
		m := q.in.Message(i)
		if m.Truncated {
			q.counters.rx.drop(Truncated, 1)
			continue
		}
		from := number(m.From.Addr())
		step := m.Segment
		if step == 0 {
			step = len(m.Payload)
		}
		// An empty datagram is no packet either.
		for rest := m.Payload; ; {
			d := rest[:min(step, len(rest))]
			if q.accept(f, from, d) {
				packets++
				bytes += len(d)
			}
			if rest = rest[len(d):]; len(rest) == 0 {
				break
			}
		}
	}
	// A run that was carried here and is still open has packets of the last batch,
	// which is the next to be received into.
	if bytes < enough || carried && rx.units.Load() == written {
		q.coalescer.Flush()
	}
	next := receiveMessages
	if bytes >= q.in.Len()*trainBytes {
		next = receiveTrains
	}
	q.last.Limit(next)
	rx.calls.Add(1)
	rx.messages.Add(uint64(q.in.Len()))
	rx.packets.Add(uint64(packets))
	rx.bytes.Add(uint64(bytes))
	return true
}

// accept writes a packet to the device, at the latest when the batch is done, if
// it may come in: it reports whether.
func (q *queue) accept(f *forwarding, from uint32, datagram []byte) bool {
	p, err := offload.ParseIPv4(datagram)
	if err != nil {
		q.counters.rx.drop(reasonOfPacket(err), 1)
		return false
	}
	a := admission{f, from, be32(p[12:]), be32(p[16:])}
	if a != q.admitted {
		reason, ok, claimed := f.admit(a.from, a.src, a.dst)
		if !ok {
			q.counters.rx.drop(reason, 1)
			if claimed != nil {
				q.report(claimed, from)
			}
			return false
		}
		q.admitted = a
	}
	if !p.DecrementTTL() {
		q.counters.rx.drop(TTLExceeded, 1)
		q.engine.answers.send(&q.counters, f.addr, timeExceeded, 0, p)
		return false
	}
	if q.header {
		q.coalescer.Add(p)
		return true
	}
	q.pieces = appendPiece(q.pieces[:0], p)
	q.counters.rx.units.Add(1)
	if errno := q.tun.Writev(q.pieces); errno != 0 {
		q.failWrite(errno, 1)
	}
	return true
}

// write writes one packet, which may be made of many, with its header.
func (q *queue) write(h offload.Header, pieces [][]byte) {
	h.Encode(q.encoded[:])
	q.pieces = appendPiece(q.pieces[:0], q.encoded[:])
	length := 0
	for _, b := range pieces {
		q.pieces = appendPiece(q.pieces, b)
		length += len(b)
	}
	q.priority.moved(h, length)
	q.counters.rx.units.Add(1)
	errno := q.tun.Writev(q.pieces)
	if errno == 0 {
		return
	}
	if errno == unix.EINVAL && h.GSOType == offload.GSOUDP4 {
		// A device that hands out such packets should take them.
		q.coalescer.UDP = false
	}
	q.failWrite(errno, len(pieces))
}

// failWrite counts packets that were lost. A device that is down is about to be
// set up, or to be deleted.
func (q *queue) failWrite(errno unix.Errno, packets int) {
	reason := reasonOf(errno)
	if isGone(errno) {
		q.err = ErrDeviceGone
	}
	if errno == unix.EIO || isGone(errno) {
		reason = DeviceDown
	}
	q.counters.rx.drop(reason, packets)
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
