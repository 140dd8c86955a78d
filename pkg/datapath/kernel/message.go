package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// buffer builds a row of netlink messages (netlink(7)): each a header, a
// fixed part and attributes, all aligned to 4 bytes.
type buffer struct {
	b     []byte
	start int // of the message under construction
}

// begin starts a message. Its length is set by end.
func (m *buffer) begin(typ, flags uint16, seq uint32) {
	m.start = len(m.b)
	m.b = append(m.b, 0, 0, 0, 0)
	m.b = native.AppendUint16(m.b, typ)
	m.b = native.AppendUint16(m.b, flags|unix.NLM_F_REQUEST)
	m.b = native.AppendUint32(m.b, seq)
	m.b = append(m.b, 0, 0, 0, 0) // port: the kernel fills in ours
}

func (m *buffer) end() { native.PutUint32(m.b[m.start:], uint32(len(m.b)-m.start)) }

// orFlags adds flags to the message that was begun last.
func (m *buffer) orFlags(flags uint16) {
	at := m.b[m.start+6:]
	native.PutUint16(at, native.Uint16(at)|flags)
}

func (m *buffer) attr(typ uint16, data []byte) {
	m.b = native.AppendUint16(m.b, uint16(unix.SizeofRtAttr+len(data)))
	m.b = native.AppendUint16(m.b, typ)
	m.b = append(m.b, data...)
	for len(m.b)%unix.RTA_ALIGNTO != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *buffer) attr32(typ uint16, v uint32) {
	var b [4]byte
	native.PutUint32(b[:], v)
	m.attr(typ, b[:])
}

func (m *buffer) addr(typ uint16, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		m.attr(typ, b[:])
		return
	}
	b := a.As16()
	m.attr(typ, b[:])
}

// ndmsg appends struct ndmsg of linux/neighbour.h.
func (m *buffer) ndmsg(family uint8, index int, state uint16, flags, typ uint8) {
	m.b = append(m.b, family, 0, 0, 0)
	m.b = native.AppendUint32(m.b, uint32(index))
	m.b = native.AppendUint16(m.b, state)
	m.b = append(m.b, flags, typ)
}

// attrs calls f for each attribute of a message's tail. The data is valid only
// during the call. What does not add up ends the walk.
func attrs(b []byte, f func(typ uint16, data []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// toAddr reads an IP address from an attribute; invalid if it is none.
func toAddr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// toUint32 reads a number from an attribute; zero if it is none.
func toUint32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return native.Uint32(b)
}
