package offload

import "encoding/binary"

// packet is a received packet and what was found out about it.
type packet struct {
	ip       IPv4
	headLen  int  // IP and transport header, in bytes, if joinable
	verified bool // header and transport checksum are there and right
	joinable bool // may be joined with others, see inspect
	push     bool // TCP with PSH: nothing may follow
}

func (p packet) payloadLen() int { return len(p.ip) - p.headLen }

// inspect looks at one packet by itself. It can be joined if it has payload and
// nothing that a cut could not make again: no IP options, no fragment, of the
// flags no more than DF, right checksums; of TCP the flags ACK and perhaps PSH; of
// UDP the length of the packet and a checksum, and if udp says so.
func inspect(p IPv4, udp bool) packet {
	out := packet{ip: p}
	if p.IsFragment() || !p.ValidHeaderChecksum() {
		return out
	}
	transport := p.Payload()
	plain := p.HeaderLen() == ipv4HeaderLen && p.fragment()&^dontFragment == 0
	switch p.Protocol() {
	case protoTCP:
		n, ok := tcpHeader(transport)
		if !ok || !p.validTransportChecksum() {
			return out
		}
		out.verified = true
		// With the bits above the flags, which are reserved or belong to ECN.
		flags := binary.BigEndian.Uint16(transport[12:]) & 0xfff
		out.push = flags&tcpPSH != 0
		out.headLen = p.HeaderLen() + n
		out.joinable = plain && flags&^tcpPSH == tcpACK && out.payloadLen() > 0
	case protoUDP:
		if len(transport) < udpHeaderLen ||
			int(binary.BigEndian.Uint16(transport[4:])) != len(transport) ||
			binary.BigEndian.Uint16(transport[udpChecksumOffset:]) == 0 ||
			!p.validTransportChecksum() {
			return out
		}
		out.verified = true
		out.headLen = p.HeaderLen() + udpHeaderLen
		out.joinable = udp && plain && out.payloadLen() > 0
	}
	return out
}
