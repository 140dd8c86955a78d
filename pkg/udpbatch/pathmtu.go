package udpbatch

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// PathMTU returns the MTU in bytes of the path to an IPv4 address as the kernel
// knows it, in the network namespace of the calling thread. It sends nothing.
func PathMTU(to netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("get path MTU to %s: %w", to, err)
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4(), Port: 9})
	if err != nil {
		return 0, fmt.Errorf("get path MTU to %s: %w", to, err)
	}
	mtu, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		return 0, fmt.Errorf("get path MTU to %s: %w", to, err)
	}
	return mtu, nil
}
