package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

const (
	// outerLen is what an IPv4 and a UDP header take of the path's MTU.
	outerLen = 20 + 8
	// piecewiseFor is how long no train is tried again where one was refused:
	// the route may get another device.
	piecewiseFor = 10 * time.Minute
)

// refused deals with a message that the kernel did not take.
func (q *queue) refused(f *forwarding, m *outMessage, errno unix.Errno) {
	if m.count > 1 && isTrainRefused(errno) {
		q.sendPiecewise(f, m)
		return
	}
	for i := range m.count {
		q.refusedPacket(f, m.peer, &q.out.packets[m.first+i], errno)
	}
}

// isTrainRefused reports whether the packets of a train may pass by themselves.
// EINVAL is said of segments that do not fit the path, EIO by devices that
// cannot compute checksums (before Linux 6.11).
func isTrainRefused(errno unix.Errno) bool {
	return errno == unix.EINVAL || errno == unix.EIO || errno == unix.EMSGSIZE || errno == unix.EOPNOTSUPP
}

// sendPiecewise sends the packets of a train one by one. If they pass it was
// the train that was refused, and no other is tried for some time.
func (q *queue) sendPiecewise(f *forwarding, m *outMessage) {
	q.counters.piecewise.Add(1)
	packets := q.out.packets[m.first:][:m.count]
	q.resend.Reset()
	for i := range packets {
		q.resend.Add(m.peer.Endpoint, q.out.piecesOf(&packets[i]), 0)
	}
	errno := q.conn.Send(q.resend)
	done := packets[:m.count-q.resend.Left()]
	q.counters.tx.drop(NoBuffer, q.resend.Left())
	refused := q.resend.Refused()
	if errno == 0 && len(refused) == 0 {
		m.peer.piecewise.Store(time.Now().Add(piecewiseFor).UnixNano())
	}
	var sent, bytes int
	for i := range done {
		if len(refused) > 0 && refused[0].Message == i {
			q.refusedPacket(f, m.peer, &done[i], refused[0].Errno)
			refused = refused[1:]
			continue
		}
		sent++
		bytes += done[i].length
	}
	tx := &q.counters.tx
	tx.packets.Add(uint64(sent))
	tx.bytes.Add(uint64(bytes))
	tx.messages.Add(uint64(sent))
}

// refusedPacket deals with a packet that the kernel did not take by itself.
func (q *queue) refusedPacket(f *forwarding, to *peer, packet *outPacket, errno unix.Errno) {
	inner := offload.IPv4(packet.head)
	if errno != unix.EMSGSIZE {
		q.counters.tx.drop(reasonOf(errno), 1)
		return
	}
	if !inner.DontFragment() {
		q.sendFragmented(to, packet)
		return
	}
	q.counters.tx.drop(TooLarge, 1)
	mtu := min(f.mtu, packet.length-1)
	if path := q.engine.answers.pathMTU(to.Endpoint.Addr()); path > outerLen {
		mtu = min(mtu, path-outerLen)
	}
	q.answerTooLarge(f, inner, mtu)
}

// sendFragmented sends a packet that may be fragmented and is larger than the
// path's MTU in a datagram that is fragmented in its stead. The other host gets
// the packet whole.
func (q *queue) sendFragmented(to *peer, packet *outPacket) {
	err := q.conn.SetDiscovery(udpbatch.Dont)
	if err == nil {
		batch := q.single
		batch.Reset()
		batch.Add(to.Endpoint, q.out.piecesOf(packet), 0)
		if errno := q.conn.Send(batch); errno == 0 && len(batch.Refused()) == 0 {
			q.counters.fragmented.Add(1)
			q.counters.tx.packets.Add(1)
			q.counters.tx.bytes.Add(uint64(packet.length))
			q.counters.tx.messages.Add(1)
		} else {
			q.counters.tx.drop(TooLarge, 1)
		}
		err = q.conn.SetDiscovery(udpbatch.Do)
	}
	if err != nil {
		q.counters.tx.drop(Other, 1)
	}
}
