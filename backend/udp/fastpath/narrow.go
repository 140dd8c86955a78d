package fastpath

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// listenRouters opens a raw socket for what routers say of datagrams that are too large for
// the way. It must be closed.
func listenRouters(local netip.Addr) (*net.IPConn, error) {
	const unreachable = 3
	conn, err := listenICMP(local, unreachable)
	if err != nil {
		return nil, fmt.Errorf("open a socket for ICMP errors: %w", err)
	}
	return conn, nil
}

// quoted is a UDP datagram that an ICMP error is about.
type quoted struct{ from, to netip.AddrPort }

// tooLarge returns which datagram a "fragmentation needed" (RFC 1191, section 4) is about, and
// the MTU that it tells, in bytes; 0: none.
func tooLarge(icmp []byte) (about quoted, mtu int, ok bool) {
	const header = 8
	if len(icmp) < header+20 || icmp[0] != 3 || icmp[1] != 4 {
		return about, 0, false
	}
	ip := icmp[header:]
	length := int(ip[0]&15) * 4
	if ip[0]>>4 != 4 || length < 20 || len(ip) < length+4 || ip[9] != unix.IPPROTO_UDP {
		return about, 0, false
	}
	udp := ip[length:]
	about.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:])), binary.BigEndian.Uint16(udp))
	about.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:])), binary.BigEndian.Uint16(udp[2:]))
	return about, int(binary.BigEndian.Uint16(icmp[6:])), true
}
