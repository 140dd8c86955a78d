package checksum

import (
	"encoding/binary"
	"math/bits"
)

// addPortable adds b to sum modulo 2^64 - 1. Words are read in little endian on
// every machine: the order of bytes only swaps those of the result (RFC 1071
// section 2(B)), so Fold swaps them back once.
func addPortable(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[0:8]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:16]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:24]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:32]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	var last uint64
	if len(b)&4 != 0 {
		last = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	shift := uint(0)
	var tail uint64
	if len(b)&2 != 0 {
		tail = uint64(binary.LittleEndian.Uint16(b))
		shift = 16
		b = b[2:]
	}
	if len(b) != 0 {
		tail |= uint64(b[0]) << shift
	}
	// These are few bits: if they carry, the sum is small and has room for it.
	sum, carry = bits.Add64(sum, last+tail, carry)
	return sum + carry
}
