package offload

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The reference: the same rules by plain copying, with a checksum of its own.

// naiveSum is RFC 1071 byte by byte, not complemented.
func naiveSum(parts ...[]byte) uint16 {
	sum, shift := uint64(0), 8
	for _, b := range parts {
		for _, c := range b {
			sum += uint64(c) << shift
			shift = 8 - shift
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func naivePseudo(p []byte, length int) []byte {
	return append(bytes.Clone(p[12:20]), 0, p[9], byte(length>>8), byte(length))
}

// checksumField returns the offset of the TCP or UDP checksum in p.
func checksumField(p []byte) int {
	if p[9] == protoUDP {
		return int(p[0]&0xf)*4 + 6
	}
	return int(p[0]&0xf)*4 + 16
}

// fix makes the lengths of IP and UDP and all checksums of p right.
func fix(p []byte) {
	ihl := int(p[0]&0xf) * 4
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	if p[9] == protoUDP {
		binary.BigEndian.PutUint16(p[ihl+4:], uint16(len(p)-ihl))
	}
	fixChecksums(p)
}

func fixChecksums(p []byte) {
	ihl := int(p[0]&0xf) * 4
	if ihl > len(p) {
		return
	}
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], ^naiveSum(p[:ihl]))
	field := checksumField(p)
	if p[9] != protoTCP && p[9] != protoUDP || field+2 > len(p) {
		return
	}
	binary.BigEndian.PutUint16(p[field:], 0)
	check := ^naiveSum(naivePseudo(p, len(p)-ihl), p[ihl:])
	if p[9] == protoUDP && check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(p[field:], check)
}

// leave writes to the transport checksum of p what is there when a card is to
// complete it, and returns the Header that asks for it.
func leave(p []byte, gsoType uint8, size int) Header {
	ihl := int(p[0]&0xf) * 4
	field := checksumField(p)
	binary.BigEndian.PutUint16(p[field:], naiveSum(naivePseudo(p, len(p)-ihl)))
	return Header{
		Flags:      NeedsChecksum,
		GSOType:    gsoType,
		GSOSize:    uint16(size),
		CsumStart:  uint16(ihl),
		CsumOffset: uint16(field - ihl),
	}
}

// transportHeader returns the length of the TCP or UDP header in b, or 0.
func transportHeader(protocol uint8, b []byte) int {
	switch {
	case protocol == protoUDP && len(b) >= 8:
		return 8
	case protocol == protoTCP && len(b) >= 20:
		if n := int(b[12]>>4) * 4; n >= 20 && n <= len(b) {
			return n
		}
	}
	return 0
}

// naiveSplit cuts a well-formed packet into segments of size bytes of payload.
func naiveSplit(p []byte, size int) [][]byte {
	ihl := int(p[0]&0xf) * 4
	n := ihl + transportHeader(p[9], p[ihl:])
	var out [][]byte
	for start := n; start == n || start < len(p); start += size {
		end := min(start+size, len(p))
		s := append(bytes.Clone(p[:n]), p[start:end]...)
		binary.BigEndian.PutUint16(s[4:], binary.BigEndian.Uint16(p[4:])+uint16(len(out)))
		if p[9] == protoTCP {
			seq := binary.BigEndian.Uint32(p[ihl+4:])
			binary.BigEndian.PutUint32(s[ihl+4:], seq+uint32(start-n))
			if start > n {
				s[ihl+13] &^= 0x80 // CWR
			}
			if end < len(p) {
				s[ihl+13] &^= 0x09 // PSH, FIN
			}
		}
		fix(s)
		out = append(out, s)
	}
	return out
}

// naiveVerified reports whether p is a whole TCP or UDP packet with right
// checksums of its header and of all.
func naiveVerified(p []byte) bool {
	ihl := int(p[0]&0xf) * 4
	n := transportHeader(p[9], p[ihl:])
	switch {
	case n == 0, binary.BigEndian.Uint16(p[6:])&0x3fff != 0, naiveSum(p[:ihl]) != 0xffff:
		return false
	case p[9] == protoUDP && int(binary.BigEndian.Uint16(p[ihl+4:])) != len(p)-ihl:
		return false
	case p[9] == protoUDP && binary.BigEndian.Uint16(p[ihl+6:]) == 0:
		return false
	}
	return naiveSum(naivePseudo(p, len(p)-ihl), p[ihl:]) == 0xffff
}

// naiveJoin returns the large packet that the packets make up, and false if they
// do not: if a cut would not give them back.
func naiveJoin(group [][]byte, udp bool) ([]byte, Header, bool) {
	first, last := group[0], group[len(group)-1]
	n := 20 + transportHeader(first[9], first[20:])
	size := len(first) - n
	joined := bytes.Clone(first[:n])
	for _, p := range group {
		if !naiveVerified(p) || p[0] != 0x45 || p[6]&^0x40 != 0 || p[7] != 0 || len(p) <= n {
			return nil, Header{}, false
		}
		if p[9] == protoTCP && (p[32]&0xf != 0 || p[33]&^0x08 != 0x10) || p[9] == protoUDP && !udp {
			return nil, Header{}, false
		}
		joined = append(joined, p[n:]...)
	}
	if len(joined) > 65535 || first[9] == protoTCP && len(group) > 128 || first[9] == protoUDP && len(group) > 64 {
		return nil, Header{}, false
	}
	if first[9] == protoTCP {
		joined[33] = last[33]
	}
	fix(joined)

	parts := naiveSplit(joined, size)
	if len(parts) != len(group) {
		return nil, Header{}, false
	}
	counts, constant := true, first[6]&0x40 != 0
	for i, p := range group {
		want := binary.BigEndian.Uint16(parts[i][4:])
		counts = counts && binary.BigEndian.Uint16(p[4:]) == want
		constant = constant && bytes.Equal(p[4:6], first[4:6])
		if !bytes.Equal(withoutChecks(p), withoutChecks(parts[i])) {
			return nil, Header{}, false
		}
	}
	gsoType := uint8(GSOTCP4)
	if first[9] == protoUDP {
		gsoType = GSOUDP4
	}
	h := leave(joined, gsoType, size)
	h.HdrLen = uint16(n)
	return joined, h, counts || constant
}

// withoutChecks returns p without its ID and its checksums, which were verified: one
// that is zero can be written in two ways.
func withoutChecks(p []byte) []byte {
	p = bytes.Clone(p)
	field := checksumField(p)
	for _, at := range []int{4, 10, field} {
		p[at], p[at+1] = 0, 0
	}
	return p
}

// emitted is one call of Emit, its pieces copied together.
type emitted struct {
	Header Header
	Packet []byte
}

// naiveCoalesce is what a Coalescer must emit for packets and a Flush.
func naiveCoalesce(packets [][]byte, udp bool) []emitted {
	var out []emitted
	for len(packets) > 0 {
		best := emitted{Packet: packets[0]}
		if naiveVerified(packets[0]) {
			best.Header.Flags = DataValid
		}
		n := 1
		for n < len(packets) {
			joined, h, ok := naiveJoin(packets[:n+1], udp)
			if !ok {
				break
			}
			best = emitted{h, joined}
			n++
		}
		out = append(out, best)
		packets = packets[n:]
	}
	return out
}

// coalesce gives packets to a Coalescer, copies of them, and returns what it
// emits.
func coalesce(packets [][]byte, udp bool) []emitted {
	var out []emitted
	c := &Coalescer{UDP: udp, Emit: func(h Header, pieces [][]byte) {
		out = append(out, emitted{h, bytes.Join(pieces, nil)})
	}}
	for _, p := range packets {
		c.Add(IPv4(bytes.Clone(p)))
	}
	c.Flush()
	return out
}

// split cuts p, of which it keeps a copy from being changed, and joins the pieces
// of each segment.
func split(h Header, p []byte) ([][]byte, error) {
	var s Splitter
	if err := s.Start(h, IPv4(bytes.Clone(p))); err != nil {
		return nil, err
	}
	arena := make([]byte, s.HeadLen())
	var out [][]byte
	for s.Left() > 0 {
		segment := s.Next(arena)
		out = append(out, append(bytes.Clone(segment.Head), segment.Payload...))
	}
	return out, nil
}

// tcpPacket returns a packet with ACK, DF and so many bytes of payload, the first
// of a stream whose i-th segment of the same size is segmentOf(…, i).
func tcpPacket(payload int) []byte { return packetOf(protoTCP, 12, payload) }

func udpPacket(payload int) []byte { return packetOf(protoUDP, 0, payload) }

func packetOf(protocol uint8, options, payload int) []byte {
	header := 8
	if protocol == protoTCP {
		header = 20 + options
	}
	p := make([]byte, 20+header+payload)
	copy(p, []byte{0x45, 0x02, 0, 0, 0xff, 0xfe, 0x40, 0, 63, protocol, 0, 0, 10, 1, 2, 3, 10, 1, 9, 8})
	copy(p[20:], []byte{0x9c, 0x40, 0x14, 0x51})
	if protocol == protoTCP {
		copy(p[24:], []byte{0xff, 0xff, 0xff, 0x00, 1, 2, 3, 4, byte(header/4) << 4, tcpACK, 0x20, 0x30, 0, 0, 0, 0})
		for i := range options {
			p[40+i] = byte(i + 1)
		}
	}
	for i := 20 + header; i < len(p); i++ {
		p[i] = byte(i * 7)
	}
	fix(p)
	return p
}

// stream returns n packets of one flow in a row, each with so many bytes of
// payload.
func stream(t testing.TB, protocol uint8, n, payload int) [][]byte {
	t.Helper()
	out := naiveSplit(packetOf(protocol, 12, n*payload), payload)
	if len(out) != n {
		t.Fatalf("made %d packets, want %d", len(out), n)
	}
	return out
}
