package fastpath

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"flanneld/backend/udp/engine"
	"flanneld/pkg/checksum"
)

const echoRequest, echoReply = 8, 0

// pinger sends pings from this host's first address in the overlay to those of others.
type pinger struct {
	conn *net.IPConn
	own  netip.Addr
	id   uint16 // of pings that prove
}

// newPinger opens a raw socket. The address must be there.
func newPinger(own netip.Addr, id uint16) (*pinger, error) {
	conn, err := listenICMP(own, echoReply, echoRequest)
	if err != nil {
		return nil, fmt.Errorf("open a socket for pings: %w", err)
	}
	return &pinger{conn: conn, own: own, id: id}, nil
}

// listenICMP opens a raw socket that gets messages of some types to an address.
func listenICMP(to netip.Addr, kinds ...int) (*net.IPConn, error) {
	conn, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: to.AsSlice()})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
			blocked := ^uint32(0)
			for _, kind := range kinds {
				blocked &^= 1 << kind
			}
			_ = unix.SetsockoptInt(int(fd), unix.SOL_RAW, unix.ICMP_FILTER, int(int32(blocked)))
		})
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// prove has a host send an answer that comes by the GPE device, if anything does.
func (p *pinger) prove(to netip.Addr) { p.send(to, p.id, 64) }

// ask asks by an IPv4 packet of a length in bytes whether the way to a host is open.
func (p *pinger) ask(to netip.Addr, length int) { p.send(to, engine.WayPing, length) }

// send sends a ping. One that is lost is no error.
func (p *pinger) send(to netip.Addr, id uint16, length int) {
	m := make([]byte, max(length-20, 8+len(engine.WayWord)))
	m[0] = echoRequest
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], uint16(length)) // as the sequence number, which the answer has too
	copy(m[8:], engine.WayWord)
	binary.BigEndian.PutUint16(m[2:], checksum.Sum(0).Add(m).Checksum())
	_, _ = p.conn.WriteToIP(m, &net.IPAddr{IP: to.AsSlice()})
}

// receive calls f with who has answered an ask of which length, or asks, until the socket is
// closed.
func (p *pinger) receive(f func(from netip.Addr, length int, asks bool)) {
	b := make([]byte, 64) // of a longer one the rest is of no interest
	for {
		n, from, err := p.conn.ReadFromIP(b)
		if err != nil {
			return
		}
		if n >= 8+len(engine.WayWord) && string(b[8:][:len(engine.WayWord)]) == engine.WayWord && binary.BigEndian.Uint16(b[4:]) == engine.WayPing {
			if a, ok := netip.AddrFromSlice(from.IP.To4()); ok {
				f(a, int(binary.BigEndian.Uint16(b[6:])), b[0] == echoRequest)
			}
		}
	}
}
