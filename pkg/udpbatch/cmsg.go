package udpbatch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// sendControl is a control message with a value of two bytes. The header's
// alignment is the architecture's for control messages, and so is the place of
// what follows it.
type sendControl struct {
	header unix.Cmsghdr
	data   [8]byte
}

// set makes it one that asks for a GSO batch, and returns its length in bytes.
func (c *sendControl) set(segment int) int {
	c.header.Level = unix.SOL_UDP
	c.header.Type = unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.data[:], uint16(segment))
	return unix.CmsgSpace(2)
}

// receiveControl is room for the control messages of one message: more than
// one, since an adopted socket may have other options set, which we ignore.
type receiveControl struct {
	_     [0]unix.Cmsghdr // for its alignment
	bytes [64]byte
}

// segment returns the length of the datagrams in a GSO batch from its control
// messages; zero if they have none, or an invalid one.
func segment(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			// An int, though it fits into 16 bits.
			n := int32(binary.NativeEndian.Uint32(data))
			if n < 0 || n > MaxPayload {
				return 0
			}
			return int(n)
		}
		control = rest
	}
	return 0
}
