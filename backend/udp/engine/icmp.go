package engine

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"flanneld/pkg/checksum"
	"flanneld/pkg/offload"
)

// icmpError is a type and, in the low byte, a code of RFC 792.
type icmpError uint16

const (
	netUnreachable      icmpError = 3 << 8
	fragmentationNeeded icmpError = 3<<8 | 4
	timeExceeded        icmpError = 11 << 8
)

const (
	protocolICMP = 1
	// icmpTTL is enough between hosts of one overlay. All releases send it.
	icmpTTL = 8
	// offenderPayload is the number of bytes that are quoted after the packet's header.
	offenderPayload = 8
	icmpMaxLen      = 20 + 8 + 60 + offenderPayload
)

// appendError appends the error that src sends about a packet: an IPv4 packet of at most
// icmpMaxLen bytes. Only fragmentationNeeded uses mtu. It appends nothing if no error may
// be sent about the packet.
func appendError(b []byte, e icmpError, mtu int, src netip.Addr, offender offload.IPv4) []byte {
	if !mayAnswer(e, offender) {
		return b
	}
	quoted := offender[:min(len(offender), offender.HeaderLen()+offenderPayload)]
	return appendICMP(b, icmpTTL, src, offender.Src(), uint16(e), uint32(mtu), quoted)
}

// appendICMP appends an ICMP message, an IPv4 packet: of a type and, in the low byte, a
// code, and with what follows the checksum.
func appendICMP(b []byte, ttl uint8, src, dst netip.Addr, kind uint16, rest uint32, data []byte) []byte {
	start, from, to := len(b), src.As4(), dst.As4()
	b = append(b, make([]byte, 28)...)
	b = append(b, data...)
	p := b[start:]
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[8], p[9] = ttl, protocolICMP
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p[:20]).Checksum())
	binary.BigEndian.PutUint16(p[20:], kind)
	binary.BigEndian.PutUint32(p[24:], rest)
	binary.BigEndian.PutUint16(p[22:], checksum.Sum(0).Add(p[20:]).Checksum())
	return b
}

// mayAnswer implements RFC 1812 section 4.3.2.7: nothing about ICMP errors,
// fragments but the first, or packets from no single host. As in all releases, net
// unreachable is not sent about ICMP packets or headers with all options.
func mayAnswer(e icmpError, p offload.IPv4) bool {
	src := p.Src()
	if src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || src.As4()[0] >= 240 || p.Dst().IsMulticast() {
		return false
	}
	if binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return false
	}
	if e == netUnreachable && (p.Protocol() == protocolICMP || p.HeaderLen() >= 60) {
		return false
	}
	if p.Protocol() != protocolICMP {
		return true
	}
	// The types that are a question or an answer, not an error.
	queries := []byte{0, 8, 13, 14, 15, 16, 17, 18}
	return len(p.Payload()) > 0 && slices.Contains(queries, p.Payload()[0])
}
