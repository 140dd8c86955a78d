package offload

import (
	"encoding/binary"
	"net/netip"

	"flanneld/pkg/checksum"
)

// Transport protocols that can be cut and joined.
const (
	protoTCP = 6
	protoUDP = 17
)

const (
	ipv4HeaderLen  = 20     // without options
	dontFragment   = 0x4000 // of the flags and fragment offset
	fragmentFields = 0x3fff // more fragments, and the offset
	maxTotalLength = 65535
)

// IPv4 is one IPv4 packet and nothing after it, as ParseIPv4 returns it: methods
// may panic on other bytes. It shares the memory that it was parsed from.
type IPv4 []byte

// ParseIPv4 returns the packet at the start of b, without what follows its total
// length: padding, which a receiver ignores. It looks at lengths only, and at no
// checksum. It returns ErrShort, ErrIPv6, ErrVersion, ErrHeaderLength or
// ErrTotalLength.
func ParseIPv4(b []byte) (IPv4, error) {
	if len(b) == 0 {
		return nil, ErrShort
	}
	if version := b[0] >> 4; version != 4 {
		if version == 6 {
			return nil, ErrIPv6
		}
		return nil, ErrVersion
	}
	if len(b) < ipv4HeaderLen {
		return nil, ErrShort
	}
	header := IPv4(b).HeaderLen()
	if header < ipv4HeaderLen || header > len(b) {
		return nil, ErrHeaderLength
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total < header || total > len(b) {
		return nil, ErrTotalLength
	}
	return IPv4(b[:total:total]), nil
}

// HeaderLen is the length of the header with options, in bytes.
func (p IPv4) HeaderLen() int { return int(p[0]&0xf) * 4 }

// Src is the source address.
func (p IPv4) Src() netip.Addr { return netip.AddrFrom4([4]byte(p[12:16])) }

// Dst is the destination address.
func (p IPv4) Dst() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// Protocol is the number of the transport protocol.
func (p IPv4) Protocol() uint8 { return p[9] }

// DontFragment reports whether the packet must not be fragmented.
func (p IPv4) DontFragment() bool { return p.fragment()&dontFragment != 0 }

// IsFragment reports whether the packet is a fragment, the first or a later one.
func (p IPv4) IsFragment() bool { return p.fragment()&fragmentFields != 0 }

// Payload is what follows the header: the transport header and its data.
func (p IPv4) Payload() []byte { return p[p.HeaderLen():] }

// ValidHeaderChecksum reports whether the checksum of the header is right.
func (p IPv4) ValidHeaderChecksum() bool {
	return checksum.Sum(0).Add(p[:p.HeaderLen()]).Fold() == 0xffff
}

// DecrementTTL takes one hop from the TTL and patches the header checksum, which
// stays wrong if it was. It returns false and changes nothing if the packet has
// no hop left and must not be forwarded: TTL 1, or 0.
func (p IPv4) DecrementTTL() bool {
	if p[8] <= 1 {
		return false
	}
	old := binary.BigEndian.Uint16(p[8:])
	p[8]--
	check := checksum.Update(binary.BigEndian.Uint16(p[10:]), old, old-0x100)
	binary.BigEndian.PutUint16(p[10:], check)
	return true
}

// fragment returns the 16 bits of flags and fragment offset.
func (p IPv4) fragment() uint16 { return binary.BigEndian.Uint16(p[6:]) }

func (p IPv4) id() uint16 { return binary.BigEndian.Uint16(p[4:]) }

// pseudoHeader returns its sum, for a transport header and payload of length
// bytes.
func (p IPv4) pseudoHeader(length uint16) checksum.Sum {
	return checksum.PseudoHeader4([4]byte(p[12:16]), [4]byte(p[16:20]), p[9], length)
}

// validTransportChecksum reports whether the TCP or UDP checksum is right.
func (p IPv4) validTransportChecksum() bool {
	segment := p.Payload()
	return p.pseudoHeader(uint16(len(segment))).Add(segment).Fold() == 0xffff
}
