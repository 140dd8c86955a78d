package udpbatch

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// PathProbe asks the kernel for path MTUs. It sends nothing. Not safe for
// concurrent use.
type PathProbe struct{ fd int }

// NewPathProbe returns one for the network namespace of the calling thread.
func NewPathProbe() (*PathProbe, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make udp socket: %w", err)
	}
	return &PathProbe{fd}, nil
}

// MTU returns what the kernel knows as the MTU, in bytes, of the path to an
// IPv4 address.
func (p *PathProbe) MTU(to netip.Addr) (int, error) {
	err := unix.Connect(p.fd, &unix.SockaddrInet4{Addr: to.As4(), Port: 9})
	if err != nil {
		return 0, fmt.Errorf("get path MTU to %s: %w", to, err)
	}
	mtu, err := unix.GetsockoptInt(p.fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		return 0, fmt.Errorf("get path MTU to %s: %w", to, err)
	}
	return mtu, nil
}

// Close closes its socket.
func (p *PathProbe) Close() error { return unix.Close(p.fd) }
