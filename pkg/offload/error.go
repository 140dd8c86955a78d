package offload

import "errors"

// What can be wrong with a packet, or with the Header before it.
var (
	ErrShort           = errors.New("packet is shorter than its first header")
	ErrIPv6            = errors.New("packet is IPv6")
	ErrVersion         = errors.New("IP version is neither 4 nor 6")
	ErrHeaderLength    = errors.New("IPv4 header is shorter than 20 bytes or longer than the packet")
	ErrTotalLength     = errors.New("IPv4 total length is less than the header, or more than there is")
	ErrFragment        = errors.New("fragment asks for offload")
	ErrGSOType         = errors.New("type of GSO packet is unknown, or not that of its protocol")
	ErrGSOSize         = errors.New("GSO packet has segments without payload")
	ErrChecksumField   = errors.New("checksum to complete is outside the packet, or not where its protocol has it")
	ErrTransportHeader = errors.New("TCP or UDP header is cut off, or longer than the packet")
	ErrSegments        = errors.New("GSO packet has too many segments")
)
