// Package checksum computes the internet checksum (RFC 1071) and patches it when
// a field changes (RFC 1624). It does not know where packets keep theirs.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Sum is a one's complement sum in progress, of the bytes added so far. The zero
// value is the sum of nothing. Its bits mean nothing by themselves; ask Fold.
//
// Two sums of the same bytes may differ as numbers, but fold to the same value.
type Sum uint64

// Add adds b, which begins at an even offset of the data; a last odd byte counts
// as if a zero byte followed. So of data cut in pieces, each piece but the last
// needs an even length.
func (s Sum) Add(b []byte) Sum { return Sum(add(uint64(s), b)) }

// AddUint16 adds a number of two bytes, at an even offset, in network order.
func (s Sum) AddUint16(v uint16) Sum { return s.Plus(Sum(bits.ReverseBytes16(v))) }

// AddUint32 adds a number of four bytes, at an even offset, in network order.
func (s Sum) AddUint32(v uint32) Sum { return s.Plus(Sum(bits.ReverseBytes32(v))) }

// Plus returns the sum of the bytes of both, each of which began at an even
// offset.
func (s Sum) Plus(t Sum) Sum {
	sum, carry := bits.Add64(uint64(s), uint64(t), 0)
	return Sum(sum + carry)
}

// Fold returns the sum as 16 bits, not complemented, as a number to be written in
// network order. It is zero only if all bytes were, and 0xffff if they contain a
// valid checksum.
func (s Sum) Fold() uint16 {
	v := s>>32 + s&0xffffffff // at most 2^33 - 2
	v = v>>16 + v&0xffff      // at most 2^17 + 2^16 - 2
	v = v>>16 + v&0xffff      // at most 2^16 + 1
	v = v>>16 + v&0xffff
	return bits.ReverseBytes16(uint16(v))
}

// Checksum returns the complement of Fold: what belongs in a checksum field that
// was summed as zero. UDP writes 0xffff in place of zero, see RFC 768.
func (s Sum) Checksum() uint16 { return ^s.Fold() }

// PseudoHeader4 returns the sum of the pseudo-header that TCP and UDP over IPv4
// include (RFC 9293 section 3.1). length is that of the transport header and the
// payload, in bytes.
func PseudoHeader4(src, dst [4]byte, protocol uint8, length uint16) Sum {
	// Far from a carry, and once per packet: so without Add.
	return Sum(binary.LittleEndian.Uint32(src[:])) + Sum(binary.LittleEndian.Uint32(dst[:])) +
		Sum(protocol)<<8 + Sum(bits.ReverseBytes16(length))
}

// Update returns the checksum of data in which one aligned 16-bit word changes
// from old to new. check is the checksum before, valid or not: what was wrong
// stays wrong by as much.
func Update(check, old, new uint16) uint16 {
	// Equation 3 of RFC 1624; the simpler one of RFC 1141 can turn a valid
	// checksum into 0xffff, which fails.
	sum := uint32(^check) + uint32(^old) + uint32(new)
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}
