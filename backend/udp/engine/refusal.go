package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
	"flanneld/pkg/udpbatch"
)

const (
	// outerLen is what an IPv4 and a UDP header take of the path's MTU, in bytes.
	outerLen = 20 + 8
	// piecewiseFor is the time after which a GSO batch is tried again where one was
	// refused: the route may use another device by then.
	piecewiseFor = 10 * time.Minute
)

// refused deals with a message that the kernel did not take.
func (s *sender) refused(f *forwarding, m *message, errno unix.Errno) {
	if m.count > 1 && isBatchRefused(errno) {
		s.sendPiecewise(f, m)
		return
	}
	for i := range m.count {
		s.refusedPacket(f, m.peer, &s.out.packets[m.first+i], errno)
	}
}

// isBatchRefused reports whether the packets of a batch may pass by themselves.
// EINVAL is said of segments that do not fit the path, EIO by devices that
// cannot compute checksums (before Linux 6.11).
func isBatchRefused(errno unix.Errno) bool {
	return errno == unix.EINVAL || errno == unix.EIO || errno == unix.EMSGSIZE || errno == unix.EOPNOTSUPP
}

// sendPiecewise sends the packets of a batch one by one. If they pass, only the batch
// was refused, and no other one is tried for some time.
func (s *sender) sendPiecewise(f *forwarding, m *message) {
	tx := &s.q.counters.tx
	s.q.counters.piecewise.Add(1)
	packets := s.out.packets[m.first:][:m.count]
	s.resend.Reset()
	for i := range packets {
		s.resend.Add(m.peer.Endpoint, s.out.piecesOf(&packets[i]), 0)
	}
	errno := s.q.conn.Send(s.resend)
	done := packets[:m.count-s.resend.Left()]
	tx.drop(NoBuffer, s.resend.Left())
	refused := s.resend.Refused()
	if errno == 0 && len(refused) == 0 {
		m.peer.piecewise.Store(time.Now().Add(piecewiseFor).UnixNano())
	}
	var sent, bytes int
	for i := range done {
		if len(refused) > 0 && refused[0].Message == i {
			s.refusedPacket(f, m.peer, &done[i], refused[0].Errno)
			refused = refused[1:]
			continue
		}
		sent++
		bytes += done[i].length
	}
	tx.moved(sent, bytes, sent)
}

// refusedPacket deals with a packet that the kernel did not take by itself.
func (s *sender) refusedPacket(f *forwarding, to *peer, packet *outPacket, errno unix.Errno) {
	tx := &s.q.counters.tx
	inner := offload.IPv4(packet.head)
	switch {
	case errno != unix.EMSGSIZE:
		tx.drop(reasonOf(errno), 1)
	case !inner.DontFragment():
		s.sendFragmented(to, packet)
	default:
		tx.drop(TooLarge, 1)
		mtu := min(f.mtu, packet.length-1)
		if path := s.q.engine.answers.pathMTU(to.Endpoint.Addr()); path > outerLen {
			mtu = min(mtu, path-outerLen)
		}
		s.q.answerTooLarge(f, inner, mtu)
	}
}

// sendFragmented sends a packet that may be fragmented and is larger than the path's
// MTU. Its datagram is fragmented, so that the other host gets the packet whole.
func (s *sender) sendFragmented(to *peer, packet *outPacket) {
	tx := &s.q.counters.tx
	err := s.q.conn.SetDiscovery(udpbatch.Dont)
	if err == nil {
		s.single.Reset()
		s.single.Add(to.Endpoint, s.out.piecesOf(packet), 0)
		if errno := s.q.conn.Send(s.single); errno == 0 && len(s.single.Refused()) == 0 {
			s.q.counters.fragmented.Add(1)
			tx.moved(1, packet.length, 1)
		} else {
			tx.drop(TooLarge, 1)
		}
		err = s.q.conn.SetDiscovery(udpbatch.Do)
	}
	if err != nil {
		tx.drop(Other, 1)
	}
}
