package tun

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Offload is a set of what the kernel leaves to the reader of a device, so that
// it need not be done packet by packet. Writers may use the same.
type Offload uint32

// The offloads, as in linux/if_tun.h.
const (
	Checksum Offload = unix.TUN_F_CSUM // transport checksums may be partial
	TSO4     Offload = unix.TUN_F_TSO4 // TCP segments over IPv4 come as GSO packets
	TSO6     Offload = unix.TUN_F_TSO6
	USO4     Offload = unix.TUN_F_USO4 // UDP datagrams of one size come as GSO packets; Linux 6.2
	USO6     Offload = unix.TUN_F_USO6

	TSO = TSO4 | TSO6
	USO = USO4 | USO6
)

// String returns the names, joined by plus signs; "none" if there are none.
func (o Offload) String() string {
	var names []string
	for _, f := range []struct {
		bit  Offload
		name string
	}{{Checksum, "csum"}, {TSO4, "tso4"}, {TSO6, "tso6"}, {USO4, "uso4"}, {USO6, "uso6"}} {
		if o&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "+")
}

// offload sets the offloads, without USO if the kernel does not know it, and returns
// which. None is set as well: a persistent device keeps what it once had.
func offload(fd int, want Offload) (Offload, error) {
	err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, int(want))
	if want&USO != 0 && errors.Is(err, unix.EINVAL) {
		return offload(fd, want&^USO)
	}
	return want, err
}
