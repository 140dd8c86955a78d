package offload

import "encoding/binary"

// TCP flags, of the byte at offset 13 of the header.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

const (
	tcpHeaderLen      = 20 // without options
	tcpChecksumOffset = 16
	udpHeaderLen      = 8
	udpChecksumOffset = 6
)

// tcpHeader returns the length of the TCP header at the start of b with options,
// in bytes, and whether it is all there.
func tcpHeader(b []byte) (int, bool) {
	if len(b) < tcpHeaderLen {
		return 0, false
	}
	n := int(b[12]>>4) * 4
	return n, n >= tcpHeaderLen && n <= len(b)
}

func tcpSeq(b []byte) uint32 { return binary.BigEndian.Uint32(b[4:]) }
