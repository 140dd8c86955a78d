package engine

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

const (
	// maxRead is the size of the largest packet with its header, in bytes.
	maxRead = tun.HeaderLen + 65535
	// arenaSize has room for two of the largest packets and some small ones: of 45
	// segments 44 make a GSO batch, and the next packet fills the rest.
	arenaSize = 192 << 10
	// maxReads is the largest number of packets that are read before received ones get
	// their turn; small ones fill two GSO batches.
	maxReads = 2 * udpbatch.MaxSegments
)

// sender moves packets from the device to peers. It is a part of its queue.
type sender struct {
	q        *queue
	arena    []byte // packets from the device
	splitter offload.Splitter
	out      sendQueue
	single   *udpbatch.SendBatch // a datagram

	fragments bool // datagrams may be fragmented, of the socket as it is
}

// newSender returns a sender that keeps packets and headers in the first
// arenaSize + headArena bytes of the memory.
func newSender(q *queue, memory []byte) sender {
	return sender{
		q:      q,
		arena:  memory[:arenaSize:arenaSize],
		out:    newSendQueue(q.conn.Features().Segment, memory[arenaSize:][:headArena]),
		single: udpbatch.NewSendBatch(1),
	}
}

func (s *sender) drop(reason Counter, packets int) { s.q.counters.add(Tx+reason, packets) }

// transmit sends what the device has, up to a bound. It reports whether it did
// anything.
func (s *sender) transmit(f *forwarding) bool {
	worked := false
	if s.out.left() > 0 {
		before := s.out.left()
		if !s.send() {
			return s.out.left() < before
		}
		s.complete(f)
		worked = true
	}
	used, reads := 0, 0
	for reads < maxReads && len(s.arena)-used >= maxRead {
		n, errno := s.q.tun.Read(s.arena[used : used+maxRead])
		if errno != 0 {
			s.failRead(errno)
			break
		}
		reads++
		s.forward(f, s.arena[used:used+n])
		used += n
	}
	if reads == 0 {
		return worked
	}
	s.q.counters.add(Tx+Units, reads)
	s.flush(f)
	return true
}

func (s *sender) failRead(errno unix.Errno) {
	switch {
	case errno == unix.EAGAIN:
	case isGone(errno):
		s.q.gone = true
	default:
		s.q.failures++
	}
}

// forward puts a packet from the device into the send queue.
func (s *sender) forward(f *forwarding, b []byte) {
	var h offload.Header
	if s.q.header {
		var err error
		if h, err = offload.DecodeHeader(b); err != nil {
			s.drop(Malformed, 1)
			return
		}
		b = b[offload.HeaderLen:]
	}
	s.q.priority.moved(h, len(b))
	p, err := offload.ParseIPv4(b)
	if err != nil {
		s.drop(reasonOfPacket(err), 1)
		return
	}
	to := f.table.lookup(binary.BigEndian.Uint32(p[16:]))
	if to == nil {
		s.drop(NoPeer, 1)
		s.q.answer(f, netUnreachable, 0, p)
		return
	}
	if !p.DecrementTTL() {
		s.drop(TTLExceeded, 1)
		s.q.answer(f, timeExceeded, 0, p)
		return
	}
	if err := s.splitter.Start(h, p); err != nil {
		s.drop(Malformed, 1)
		return
	}
	limit := s.limit(f, to, p)
	batch := s.out.gso && mayBatch(to)
	headLen := s.splitter.HeadLen()
	for s.splitter.Left() > 0 {
		if s.out.full() {
			s.flush(f)
			if s.out.left() > 0 {
				s.dropRest(f)
			}
		}
		segment := s.splitter.Next(s.out.heads[s.out.used:])
		if segment.Len() > limit {
			// The first one is as long as all but the last.
			s.drop(TooLarge, 1+s.splitter.Left())
			if p.DontFragment() {
				s.q.answer(f, fragmentationNeeded, limit, p)
			}
			return
		}
		s.out.add(to, segment, headLen, batch)
	}
}

// limit returns the length of the longest packet that may go to a peer, in bytes, and
// makes the socket's datagrams such that may be fragmented, or not, as the packet may be.
func (s *sender) limit(f *forwarding, to *peer, p offload.IPv4) int {
	if len(p) <= surelyFits {
		return f.mtu
	}
	if int(to.probed.Load()) < f.mtu {
		s.q.engine.prober.want(f, to)
	}
	if s.fragments == p.DontFragment() {
		s.flush(f)
		if s.out.left() > 0 {
			s.dropRest(f)
		}
		s.setFragments(!s.fragments)
	}
	path := int(to.limit.Load())
	if path == 0 || path >= f.mtu {
		return f.mtu
	}
	if s.fragments {
		s.q.counters.add(Fragmented, s.splitter.Left())
		return f.mtu
	}
	return path
}

// reasonOfPacket returns the reason for an error of offload.ParseIPv4.
func reasonOfPacket(err error) Counter {
	if errors.Is(err, offload.ErrIPv6) {
		return IPv6
	}
	return Malformed
}

// flush sends the send queue, or as much of it as the socket takes.
func (s *sender) flush(f *forwarding) {
	if len(s.out.messages) == 0 {
		return
	}
	s.out.seal()
	if s.send() {
		s.complete(f)
	}
}

// send reports whether the socket has taken or refused the whole send queue.
func (s *sender) send() bool {
	s.q.counters.add(Tx+Calls, 1)
	return s.q.conn.Send(s.out.batch) == 0
}

// dropRest drops what the socket has no room for.
func (s *sender) dropRest(f *forwarding) {
	for _, m := range s.out.messages[s.out.batch.Len()-s.out.left():] {
		s.drop(NoBuffer, m.count)
	}
	s.complete(f)
}

// complete counts what was sent, deals with what was refused, and empties the send
// queue.
func (s *sender) complete(f *forwarding) {
	done := s.out.batch.Len() - s.out.left()
	var packets, bytes int
	for i := range done {
		packets += s.out.messages[i].count
		bytes += s.out.messages[i].bytes
	}
	for _, r := range s.out.batch.Refused() {
		m := &s.out.messages[r.Message]
		packets -= m.count
		bytes -= m.bytes
		s.refused(f, m, r.Errno)
		done--
	}
	s.q.counters.moved(Tx, packets, bytes, done)
	s.out.reset()
}

// mayBatch reports whether GSO batches to a peer are worth trying.
func mayBatch(p *peer) bool {
	until := p.piecewise.Load()
	if until == 0 {
		return true
	}
	if time.Now().UnixNano() < until {
		return false
	}
	p.piecewise.Store(0)
	return true
}
