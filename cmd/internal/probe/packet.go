package probe

import (
	"net/netip"
	"unsafe"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// family is what the two have different.
type family struct {
	domain, protocol         int
	echo, reply              icmp.Type
	headers                  int // bytes in front of an echo's data
	level, discover, recvErr int // options of the socket
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family{unix.AF_INET, unix.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, ipv4.HeaderLen + 8,
			unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVERR}
	}
	return family{unix.AF_INET6, unix.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, ipv6.HeaderLen + 8,
		unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR}
}

// answers reports whether a packet that a socket has received is the answer to that echo. Raw
// sockets of IPv4 have the header of IP in front.
func (f family) answers(packet []byte, raw bool, id, seq int) bool {
	if raw && f.domain == unix.AF_INET {
		if len(packet) == 0 || len(packet) < int(packet[0]&15)*4 {
			return false
		}
		packet = packet[int(packet[0]&15)*4:]
	}
	m, err := icmp.ParseMessage(f.protocol, packet)
	if err != nil || m.Type != f.reply {
		return false
	}
	e, ok := m.Body.(*icmp.Echo)
	return ok && e.ID == id && e.Seq == seq
}

// quotes reports whether what an error quotes is that echo.
func (f family) quotes(packet []byte, id, seq int) bool {
	m, err := icmp.ParseMessage(f.protocol, packet)
	if err != nil || m.Type != f.echo {
		return false
	}
	e, ok := m.Body.(*icmp.Echo)
	return ok && e.ID == id && e.Seq == seq
}

// refusal is what an echo has met on its way.
type refusal struct {
	limit int   // in bytes: no packet may be larger; 1<<16: it was too large, and nobody says for what; zero: that is not why
	err   error // ip(7) has which
}

// refusal returns what the control messages of an error say; nil: nothing.
func (f family) refusal(control []byte) *refusal {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return nil
		}
		if int(h.Level) == f.level && int(h.Type) == f.recvErr && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			var e unix.SockExtendedErr
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e)), data)
			r := &refusal{err: unix.Errno(e.Errno)}
			if unix.Errno(e.Errno) == unix.EMSGSIZE {
				r.limit = 1 << 16
				if e.Info != 0 {
					r.limit = int(min(e.Info, 1<<16))
				}
			}
			return r
		}
		control = rest
	}
	return nil
}
