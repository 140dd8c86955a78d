package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/offload"
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
	s.q.counters.add(Piecewise, 1)
	passed := true
	for i := range m.count {
		packet := &s.out.packets[m.first+i]
		if errno := s.sendSingle(m.peer, packet); errno != 0 {
			s.refusedPacket(f, m.peer, packet, errno)
			passed = false
		}
	}
	if passed {
		m.peer.piecewise.Store(time.Now().Add(piecewiseFor).UnixNano())
	}
}

// sendSingle sends a packet as a datagram, and counts it if the kernel takes it.
func (s *sender) sendSingle(to *peer, packet *outPacket) unix.Errno {
	s.single.Reset()
	s.single.Add(to.Endpoint, s.out.piecesOf(packet), 0)
	errno := s.q.conn.Send(s.single)
	for _, r := range s.single.Refused() {
		errno = r.Errno
	}
	if errno == 0 {
		s.q.counters.moved(Tx, 1, packet.length, 1)
	}
	return errno
}

// refusedPacket deals with a packet that the kernel did not take by itself.
func (s *sender) refusedPacket(f *forwarding, to *peer, packet *outPacket, errno unix.Errno) {
	inner := offload.IPv4(packet.head)
	switch {
	case errno != unix.EMSGSIZE:
		s.drop(reasonOf(errno), 1)
	case !inner.DontFragment():
		s.setFragments(true)
		if s.sendSingle(to, packet) != 0 {
			s.drop(TooLarge, 1)
		}
		s.setFragments(false)
	default:
		s.drop(TooLarge, 1)
		mtu := min(f.mtu, packet.length-1)
		if path := s.q.engine.answers.pathMTU(to.Endpoint.Addr()); path > outerLen {
			mtu = min(mtu, path-outerLen)
		}
		s.q.answer(f, fragmentationNeeded, mtu, inner)
	}
}

// setFragments lets datagrams be fragmented, or not, so that the other host gets packets
// whole that are larger than the path's MTU.
func (s *sender) setFragments(may bool) {
	s.fragments = may
	s.q.conn.SetFragments(may)
}
