package offload

import "encoding/binary"

// HeaderLen is the length of an encoded Header, in bytes. TUNSETVNETHDRSZ can ask
// for more, which this package does not need.
const HeaderLen = 10

// Bits of Header.Flags, VIRTIO_NET_HDR_F_* of linux/virtio_net.h.
const (
	// NeedsChecksum: the checksum field has the sum of the pseudo-header only,
	// not complemented, and what follows CsumStart is still to be added.
	NeedsChecksum = 1
	// DataValid: somebody has verified the transport checksum. The kernel says so
	// of what it hands out; of what is written to a TUN device Linux to 6.18 at
	// least does not believe it and verifies again.
	DataValid = 2
)

// Values of Header.GSOType, VIRTIO_NET_HDR_GSO_*.
const (
	GSONone  = 0
	GSOTCP4  = 1
	GSOUDP4  = 5    // UDP_L4, "USO": each segment is a datagram
	gsoECN   = 0x80 // beside GSOTCP4: CWR is set; it belongs to the first segment, with or without this bit
	gsoTCPv6 = 4
)

// Header is struct virtio_net_hdr, which comes before each packet that is read
// from or written to a TUN device with IFF_VNET_HDR. The zero value says nothing
// about the packet: it is complete, and its checksum is to be verified.
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // of all headers, in bytes; the kernel's guess, when it comes from there
	GSOSize    uint16 // payload of each segment but the last, in bytes
	CsumStart  uint16 // offset in the packet from which to sum
	CsumOffset uint16 // offset of the checksum from CsumStart
}

// DecodeHeader returns the header at the start of b, which has the byte order of
// this machine, as the kernel writes it unless TUNSETVNETLE or TUNSETVNETBE was
// set. It returns ErrShort, ErrGSOType for a type that is never asked for or
// unknown, and ErrGSOSize. What depends on the packet Splitter.Start looks at.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrShort
	}
	h := Header{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
	switch kind := h.GSOType &^ gsoECN; {
	case h.GSOType == GSONone:
	case kind != GSOTCP4 && kind != GSOUDP4 && kind != gsoTCPv6: // IPv6 is refused as such, by its packet
		return Header{}, ErrGSOType
	case h.GSOSize == 0:
		return Header{}, ErrGSOSize
	}
	return h, nil
}

// TCP reports whether the packet is several of TCP, of IPv4, in one.
func (h Header) TCP() bool { return h.GSOType&^gsoECN == GSOTCP4 }

// Encode writes h to the first HeaderLen bytes of b, in the byte order of this
// machine.
func (h Header) Encode(b []byte) {
	_ = b[HeaderLen-1]
	b[0], b[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(b[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], h.CsumOffset)
}
