package engine

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
)

// transmit sends what the device has, up to a bound. It reports whether it did
// anything.
func (q *queue) transmit(f *forwarding) bool {
	worked := false
	if q.out.left() > 0 {
		before := q.out.left()
		if !q.send() {
			return q.out.left() < before
		}
		q.settle(f)
		worked = true
	}
	used, reads := 0, 0
	for reads < maxReads && len(q.arena)-used >= maxRead {
		n, errno := q.tun.Read(q.arena[used : used+maxRead])
		if errno != 0 {
			q.failRead(errno)
			break
		}
		reads++
		q.forward(f, q.arena[used:used+n])
		used += n
	}
	if reads == 0 {
		return worked
	}
	q.counters.tx.units.Add(uint64(reads))
	q.flush(f)
	return true
}

func (q *queue) failRead(errno unix.Errno) {
	switch {
	case errno == unix.EAGAIN:
	case isGone(errno):
		q.err = ErrDeviceGone
	default:
		q.failures++
	}
}

// forward puts a packet from the device into the outbox.
func (q *queue) forward(f *forwarding, b []byte) {
	var h offload.Header
	if q.header {
		var err error
		if h, err = offload.DecodeHeader(b); err != nil {
			q.counters.tx.drop(Malformed, 1)
			return
		}
		b = b[offload.HeaderLen:]
	}
	q.priority.moved(h, len(b))
	p, err := offload.ParseIPv4(b)
	if err != nil {
		q.counters.tx.drop(reasonOfPacket(err), 1)
		return
	}
	to := f.table.lookup(be32(p[16:]))
	if to == nil {
		q.counters.tx.drop(NoPeer, 1)
		q.engine.answers.send(&q.counters, f.addr, netUnreachable, 0, p)
		return
	}
	if !p.DecrementTTL() {
		q.counters.tx.drop(TTLExceeded, 1)
		q.engine.answers.send(&q.counters, f.addr, timeExceeded, 0, p)
		return
	}
	if err := q.splitter.Start(h, p); err != nil {
		q.counters.tx.drop(Malformed, 1)
		return
	}
	trains := q.out.trains && q.mayTrain(to)
	headLen := q.splitter.HeadLen()
	for q.splitter.Left() > 0 {
		if q.out.full() {
			q.flush(f)
			if q.out.left() > 0 {
				q.giveUp(f)
			}
		}
		s := q.splitter.Next(q.out.heads[q.out.used:])
		if s.Len() > f.mtu {
			// The first is as long as all but the last.
			q.counters.tx.drop(TooLarge, 1+q.splitter.Left())
			q.answerTooLarge(f, p, f.mtu)
			return
		}
		q.out.add(to, s, headLen, trains)
	}
}

func (q *queue) answerTooLarge(f *forwarding, p offload.IPv4, mtu int) {
	if p.DontFragment() {
		q.engine.answers.send(&q.counters, f.addr, fragmentationNeeded, mtu, p)
	}
}

// reasonOfPacket returns the reason for an error of offload.ParseIPv4.
func reasonOfPacket(err error) Reason {
	if errors.Is(err, offload.ErrIPv6) {
		return IPv6
	}
	return Malformed
}

// flush sends the outbox, or as much as the socket takes.
func (q *queue) flush(f *forwarding) {
	if len(q.out.messages) == 0 {
		return
	}
	q.out.seal()
	if q.send() {
		q.settle(f)
	}
}

// send reports whether the socket has taken, or refused, the whole outbox.
func (q *queue) send() bool {
	q.counters.tx.calls.Add(1)
	return q.conn.Send(q.out.batch) == 0
}

// giveUp drops what the socket has no room for.
func (q *queue) giveUp(f *forwarding) {
	for _, m := range q.out.messages[q.out.batch.Len()-q.out.left():] {
		q.counters.tx.drop(NoBuffer, m.count)
	}
	q.settle(f)
}

// settle counts what was sent, deals with what was refused and empties the
// outbox.
func (q *queue) settle(f *forwarding) {
	done := q.out.batch.Len() - q.out.left()
	var packets, bytes int
	for i := range done {
		packets += q.out.messages[i].count
		bytes += q.out.messages[i].bytes
	}
	for _, r := range q.out.batch.Refused() {
		m := &q.out.messages[r.Message]
		packets -= m.count
		bytes -= m.bytes
		q.refused(f, m, r.Errno)
		done--
	}
	tx := &q.counters.tx
	tx.packets.Add(uint64(packets))
	tx.bytes.Add(uint64(bytes))
	tx.messages.Add(uint64(done))
	q.out.reset()
}

// mayTrain reports whether trains to a peer are worth trying.
func (q *queue) mayTrain(p *peer) bool {
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
