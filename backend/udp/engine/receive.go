package engine

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

const (
	// receiveMessages is the number of messages that one call receives. With 4 in place
	// of 64, a network card that hands on single datagrams gets a third less.
	receiveMessages = 64
	// receiveBatches is the same while GRO batches come. More would fall out of the
	// cache before they are written, and would delay the first by the last: one flow
	// gets a twentieth less.
	receiveBatches = 8
	// batchBytes is the average size of a message from which on GRO batches are taken
	// to come, in bytes.
	batchBytes = 8 << 10
	// batchSize is the size of a buffer for a GRO batch, in bytes. It is no power of
	// two, so that the messages' beginnings spread over the cache.
	batchSize = 64<<10 + 9*64
	// datagramSize is the size of a buffer for a datagram, in bytes: a jumbo frame.
	datagramSize = 16<<10 + 9*64
	// enough is the number of bytes received at once that say that more are on their
	// way.
	enough = 32 << 10
)

// receiver moves packets from peers to the device. It is a part of its queue.
type receiver struct {
	q         *queue
	in        *udpbatch.ReceiveBatch // the one that is received into
	last      *udpbatch.ReceiveBatch // the one before, which the coalescer may still use
	coalescer offload.Coalescer
	encoded   [offload.HeaderLen]byte
	pieces    []unix.Iovec
	admitted  admission
}

// admission is the last packet that was let in: the next one is likely to be of the
// same flow.
type admission struct {
	f        *forwarding
	from     uint32
	src, dst uint32
}

// newReceiver returns a receiver that keeps packets in the first
// 2 * receiveMessages * batchSize bytes of the memory.
func newReceiver(q *queue, memory []byte) receiver {
	size := receiveMessages * datagramSize
	if q.conn.Features().GRO {
		size = receiveMessages * batchSize
	}
	return receiver{
		q:      q,
		in:     udpbatch.NewReceiveBatch(receiveMessages, memory[:size]),
		last:   udpbatch.NewReceiveBatch(receiveMessages, memory[size:][:size]),
		pieces: make([]unix.Iovec, 0, 256),
	}
}

func (r *receiver) drop(reason Counter, packets int) { r.q.counters.add(Rx+reason, packets) }

// receive writes what the socket has to the device. It reports whether it did
// anything.
//
// Packets of one flow that one call ends in the middle of are joined with those of the
// next call, if that is due at once: a network card that hands on single datagrams
// would otherwise get two short packets out of each 64 where one does.
func (r *receiver) receive(f *forwarding) bool {
	r.in, r.last = r.last, r.in
	if errno := r.q.conn.Receive(r.in); errno != 0 {
		r.failReceive(errno)
		return false
	}
	c := &r.q.counters
	carried, written := r.coalescer.Waiting() > 0, c[Rx+Units].Load()
	packets, bytes := r.acceptAll(f)
	// Packets that were carried here and are still waiting lie in the last batch, which
	// is the next one to be received into.
	if bytes < enough || carried && c[Rx+Units].Load() == written {
		r.coalescer.Flush()
	}
	next := receiveMessages
	if bytes >= r.in.Len()*batchBytes {
		next = receiveBatches
	}
	r.last.Limit(next)
	c.add(Rx+Calls, 1)
	c.moved(Rx, packets, bytes, r.in.Len())
	return true
}

func (r *receiver) failReceive(errno unix.Errno) {
	r.coalescer.Flush()
	if errno != unix.EAGAIN {
		// An error that an earlier datagram met on its way; the kernel tells it once.
		r.drop(reasonOf(errno), 1)
		r.q.failures++
	}
}

// acceptAll accepts the datagrams of all messages, and returns how many packets were
// let in and their bytes.
func (r *receiver) acceptAll(f *forwarding) (packets, bytes int) {
	for i := range r.in.Len() {
		m := r.in.Message(i)
		if m.Truncated {
			r.drop(Truncated, 1)
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
			if r.accept(f, from, d) {
				packets++
				bytes += len(d)
			}
			if rest = rest[len(d):]; len(rest) == 0 {
				break
			}
		}
	}
	return packets, bytes
}

// accept writes a packet to the device if it may come in, at the latest when the batch
// is done. It reports whether the packet was let in.
func (r *receiver) accept(f *forwarding, from uint32, datagram []byte) bool {
	p, err := offload.ParseIPv4(datagram)
	if err != nil {
		r.drop(reasonOfPacket(err), 1)
		return false
	}
	a := admission{f, from, binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])}
	if a != r.admitted {
		reason, claimed := f.admit(a.from, a.src, a.dst)
		if reason != Packets {
			r.drop(reason, 1)
			if claimed != nil {
				r.q.report(claimed, from)
			}
			return false
		}
		r.admitted = a
	}
	if p.Protocol() == protocolICMP && (r.q.engine.prober.answered(f, p) || isWayPing(p)) {
		return true
	}
	if !p.DecrementTTL() {
		r.drop(TTLExceeded, 1)
		r.q.answer(f, timeExceeded, 0, p)
		return false
	}
	if r.q.header {
		r.coalescer.Add(p)
		return true
	}
	r.pieces = appendPiece(r.pieces[:0], p)
	r.q.counters.add(Rx+Units, 1)
	if errno := r.q.tun.Writev(r.pieces); errno != 0 {
		r.failWrite(errno, 1)
	}
	return true
}

// write writes one packet, which may be made of many, with its header.
func (r *receiver) write(h offload.Header, pieces [][]byte) {
	h.Encode(r.encoded[:])
	r.pieces = appendPiece(r.pieces[:0], r.encoded[:])
	length := 0
	for _, b := range pieces {
		r.pieces = appendPiece(r.pieces, b)
		length += len(b)
	}
	r.q.priority.moved(h, length)
	r.q.counters.add(Rx+Units, 1)
	errno := r.q.tun.Writev(r.pieces)
	if errno == 0 {
		return
	}
	if errno == unix.EINVAL && h.GSOType == offload.GSOUDP4 {
		// A device that hands out such packets should take them.
		r.coalescer.UDP = false
	}
	r.failWrite(errno, len(pieces))
}

// failWrite counts packets that were lost. A device that is down is about to be set
// up, or to be deleted.
func (r *receiver) failWrite(errno unix.Errno, packets int) {
	reason := reasonOf(errno)
	if isGone(errno) {
		r.q.gone = true
	}
	if errno == unix.EIO || isGone(errno) {
		reason = DeviceDown
	}
	r.drop(reason, packets)
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
