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

// ifaddrmsg appends struct ifaddrmsg of linux/if_addr.h, of the widest scope.
func (m *buffer) ifaddrmsg(family, bits, flags uint8, index int) {
	m.b = append(m.b, family, bits, flags, unix.RT_SCOPE_UNIVERSE)
	m.b = native.AppendUint32(m.b, uint32(index))
}

// ndmsg appends struct ndmsg of linux/neighbour.h.
func (m *buffer) ndmsg(family uint8, index int, state uint16, flags uint8) {
	m.b = append(m.b, family, 0, 0, 0)
	m.b = native.AppendUint32(m.b, uint32(index))
	m.b = native.AppendUint16(m.b, state)
	m.b = append(m.b, flags, 0)
}

// attributes are those of a message by their type; nil for one that it does not
// have. Types beyond are of no interest here.
type attributes [32][]byte

// attrs reads a message's tail, which the attributes share. What does not add up
// ends it.
func attrs(b []byte) (all attributes) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		typ := native.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if int(typ) < len(all) {
			all[typ] = b[unix.SizeofRtAttr:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return all
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
