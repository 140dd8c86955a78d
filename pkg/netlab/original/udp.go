package original

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// udp forwards one packet at a time between a TUN device and a socket.
type udp struct {
	external external
	network  netip.Prefix
	port     uint16
	device   *os.File
	name     string
	socket   *net.UDPConn

	mu    sync.Mutex
	peers []lease // the first that fits is taken
}

// newUDP makes the device, flannel0 or the next that is free.
func newUDP(release string, n network, e external) (*udp, error) {
	u := &udp{external: e, network: n.net, port: uint16(n.Backend.Port)}
	if u.port == 0 {
		u.port = 8285
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq("flannel%d")
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	u.device, u.name = os.NewFile(uintptr(fd), "tun"), request.Name()
	local := netip.MustParseAddr(e.address)
	if release == "0.5.5" {
		local = netip.IPv4Unspecified()
	}
	u.socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, u.port)))
	return u, err
}

func (u *udp) attrs() attrs { return attrs{} } // such leases have no type

func (u *udp) mtu() int { return u.external.mtu - 28 }

func (u *udp) up(own netip.Prefix) error {
	for _, command := range []string{
		fmt.Sprintf("addr add %s/32 dev %s", own.Addr(), u.name),
		fmt.Sprintf("link set %s mtu %d up", u.name, u.mtu()),
		fmt.Sprintf("route add %s dev %s", u.network, u.name),
	} {
		// A route that is there stays, though it be another device's.
		if out, err := ip("%s", command); err != nil && !strings.Contains(out, "File exists") {
			return err
		}
	}
	go u.send()
	go u.receive()
	return nil
}

func (u *udp) send() {
	b := make([]byte, u.mtu())
	for {
		n, err := u.device.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || !hop(b[:n]) {
			continue
		}
		if to := u.nextHop(netip.AddrFrom4([4]byte(b[16:20]))); to.IsValid() {
			_, _ = u.socket.WriteToUDPAddrPort(b[:n], to)
		}
	}
}

func (u *udp) receive() {
	b := make([]byte, u.mtu()) // what is longer is cut off
	for {
		n, _, err := u.socket.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && hop(b[:n]) {
			_, _ = u.device.Write(b[:n])
		}
	}
}

func (u *udp) nextHop(to netip.Addr) netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, l := range u.peers {
		if l.subnet.Contains(to) {
			ip, err := netip.ParseAddr(l.attrs.PublicIP)
			if err != nil {
				return netip.AddrPort{}
			}
			return netip.AddrPortFrom(ip, u.port)
		}
	}
	return netip.AddrPort{}
}

func (u *udp) add(l lease) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.IndexFunc(u.peers, func(p lease) bool { return p.subnet == l.subnet }); i >= 0 {
		u.peers[i] = l
	} else {
		u.peers = append(u.peers, l)
	}
	return nil
}

func (u *udp) remove(l lease) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.peers = slices.DeleteFunc(u.peers, func(p lease) bool { return p.subnet == l.subnet })
	return nil
}

func (u *udp) again() error { return nil }

func (u *udp) down() {
	_ = u.device.Close()
	_ = u.socket.Close()
}

// hop takes one from the TTL of an IPv4 packet, and mends the checksum. It reports whether
// the packet may go on.
func hop(p []byte) bool {
	if len(p) < 20 || p[0]>>4 != 4 || p[8] <= 1 {
		return false
	}
	p[8]--
	sum := uint32(binary.BigEndian.Uint16(p[10:])) + 0x100 // RFC 1141
	binary.BigEndian.PutUint16(p[10:], uint16(sum+sum>>16))
	return true
}
