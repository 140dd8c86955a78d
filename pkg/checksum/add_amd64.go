package checksum

import (
	"math/bits"

	"golang.org/x/sys/cpu"
)

// minVector is the length in bytes from which AVX2 pays for its start: measured,
// the two meet near 128, and it is twice as fast at 256.
const minVector = 128

func add(sum uint64, b []byte) uint64 {
	if len(b) >= minVector && cpu.X86.HasAVX2 {
		n := len(b) &^ 63
		s, carry := bits.Add64(sum, sumAVX2(b[:n]), 0)
		sum, b = s+carry, b[n:]
	}
	return addPortable(sum, b)
}

// sumAVX2 returns the sum of the 32-bit little-endian words of b, whose length is
// a multiple of 64 and not zero. It is exact for less than 2^32 bytes.
//
//go:noescape
func sumAVX2(b []byte) uint64
