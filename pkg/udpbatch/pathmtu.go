package udpbatch

import (
	"fmt"
	"net/netip"
	"unsafe"

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
	// The socket keeps the source address of its last path, from which there may
	// be none to this one.
	p.disconnect()
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

// disconnect dissolves the association with a peer (connect(2)).
func (p *PathProbe) disconnect() {
	a := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, _ = unix.RawSyscall(unix.SYS_CONNECT, uintptr(p.fd), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
}

// Close closes its socket.
func (p *PathProbe) Close() error { return unix.Close(p.fd) }
