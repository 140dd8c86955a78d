package offload

import (
	"encoding/binary"

	"flanneld/pkg/checksum"
)

// MaxSegments is how many segments one packet may become. The smallest that Linux
// makes of a TCP stream with timestamps has 36 bytes of payload (tcp_min_snd_mss),
// which is 1820 segments; more is a mistake or an attack on the wire.
const MaxSegments = 2048

// Segment is one packet for the wire, in two pieces.
type Segment struct {
	Head    []byte // IP and transport header; or all of a packet that was not cut
	Payload []byte // may be empty
}

// Len is the length of the packet, in bytes.
func (s Segment) Len() int { return len(s.Head) + len(s.Payload) }

// Splitter cuts packets into segments, one packet at a time: Start, then Next
// until nothing is left. The zero value has nothing left. A Splitter can be used
// again and again.
type Splitter struct {
	packet     IPv4
	cut        bool // or the packet is the only segment, as it is
	size       int  // payload of each segment but the last, in bytes
	count      int  // of segments
	next       int  // index of the next one
	ipLen      int  // IP header, in bytes
	headLen    int  // all headers, in bytes
	protocol   uint8
	seq        uint32 // TCP: of the first segment
	offsetBits uint16 // TCP: data offset and flags

	// Sums of what is the same in all segments.
	ipSum        checksum.Sum // header but total length, ID and checksum
	transportSum checksum.Sum // pseudo-header and header but lengths, checksum and, of TCP, sequence number and flags
}

// Start begins to cut p, which must stay as it is until Left is 0. h is what the
// kernel said of p; of it, only what the packet confirms is believed. If h asks
// for a checksum alone, that is completed in place, and p is the only segment; if
// h asks for nothing, p is it unchanged.
//
// Start returns ErrGSOType, ErrGSOSize, ErrFragment, ErrTransportHeader,
// ErrChecksumField or ErrSegments, and then nothing is left and p unchanged.
func (s *Splitter) Start(h Header, p IPv4) error {
	*s = Splitter{}
	switch h.GSOType {
	case GSONone:
		if h.Flags&NeedsChecksum != 0 {
			if err := complete(h, p); err != nil {
				return err
			}
		}
		s.packet, s.count = p, 1
		return nil
	case GSOTCP4, GSOTCP4 | gsoECN:
		return s.start(h, p, protoTCP)
	case GSOUDP4:
		return s.start(h, p, protoUDP)
	default:
		return ErrGSOType
	}
}

// complete adds to the checksum field, which has the sum of the pseudo-header,
// what the sender left to hardware.
func complete(h Header, p IPv4) error {
	if p.IsFragment() {
		return ErrFragment
	}
	start := int(h.CsumStart)
	field := start + int(h.CsumOffset)
	if start < p.HeaderLen() || field+2 > len(p) || h.CsumOffset%2 != 0 {
		return ErrChecksumField
	}
	putNonZero(p[field:], checksum.Sum(0).Add(p[start:]).Checksum())
	return nil
}

// putNonZero writes a checksum for which zero would mean that there is none
// (RFC 768). The two zeros of one's complement are equally right for the others.
func putNonZero(b []byte, check uint16) {
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b, check)
}

func (s *Splitter) start(h Header, p IPv4, protocol uint8) error {
	if p.Protocol() != protocol {
		return ErrGSOType
	}
	if h.GSOSize == 0 {
		return ErrGSOSize
	}
	if p.IsFragment() {
		return ErrFragment
	}
	ipLen := p.HeaderLen()
	transport := p[ipLen:]
	n, ok := udpHeaderLen, len(transport) >= udpHeaderLen
	field := udpChecksumOffset
	if protocol == protoTCP {
		n, ok = tcpHeader(transport)
		field = tcpChecksumOffset
	}
	if !ok {
		return ErrTransportHeader
	}
	if h.Flags&NeedsChecksum == 0 || int(h.CsumStart) != ipLen || int(h.CsumOffset) != field {
		return ErrChecksumField
	}
	size := int(h.GSOSize)
	count := max(1, (len(transport)-n+size-1)/size)
	if count > MaxSegments {
		return ErrSegments
	}

	s.packet, s.cut = p, true
	s.size, s.count = size, count
	s.ipLen, s.headLen = ipLen, ipLen+n
	s.protocol = protocol
	s.ipSum = checksum.Sum(0).Add(p[0:2]).Add(p[6:10]).Add(p[12:ipLen])
	s.transportSum = p.pseudoHeader(0).Add(transport[0:4])
	if protocol == protoTCP {
		s.seq = tcpSeq(transport)
		s.offsetBits = binary.BigEndian.Uint16(transport[12:])
		s.transportSum = s.transportSum.Add(transport[8:12]).Add(transport[14:16]).Add(transport[18:n])
	}
	return nil
}

// Left is how many segments Next has still to return.
func (s *Splitter) Left() int { return s.count - s.next }

// HeadLen is how many bytes of arena each call of Next fills. It is 0 for a packet
// that is not cut.
func (s *Splitter) HeadLen() int { return s.headLen }

// Next returns the next segment; it panics if none is left. Its headers are in
// the first HeadLen bytes of arena, which must have as many. Its payload is the
// packet's memory.
func (s *Splitter) Next(arena []byte) Segment {
	if s.next >= s.count {
		panic("offload: Next without a segment left")
	}
	i := s.next
	s.next++
	if !s.cut {
		return Segment{Head: s.packet}
	}
	start := s.headLen + i*s.size
	end := min(start+s.size, len(s.packet))
	payload := s.packet[start:end:end]

	head := arena[:s.headLen:s.headLen]
	copy(head, s.packet)
	total := uint16(len(head) + len(payload))
	id := s.packet.id() + uint16(i)
	binary.BigEndian.PutUint16(head[2:], total)
	binary.BigEndian.PutUint16(head[4:], id)
	binary.BigEndian.PutUint16(head[10:], s.ipSum.AddUint16(total).AddUint16(id).Checksum())

	transport := head[s.ipLen:]
	length := total - uint16(s.ipLen)
	sum := s.transportSum.AddUint16(length).Add(payload)
	if s.protocol == protoUDP {
		binary.BigEndian.PutUint16(transport[4:], length)
		putNonZero(transport[udpChecksumOffset:], sum.AddUint16(length).Checksum())
		return Segment{Head: head, Payload: payload}
	}
	seq := s.seq + uint32(i*s.size)
	offsetBits := s.offsetBits
	if i > 0 {
		offsetBits &^= tcpCWR
	}
	if s.next < s.count {
		offsetBits &^= tcpFIN | tcpPSH
	}
	binary.BigEndian.PutUint32(transport[4:], seq)
	binary.BigEndian.PutUint16(transport[12:], offsetBits)
	check := sum.AddUint32(seq).AddUint16(offsetBits).Checksum()
	binary.BigEndian.PutUint16(transport[tcpChecksumOffset:], check)
	return Segment{Head: head, Payload: payload}
}
