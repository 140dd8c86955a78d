package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// makeTUN makes a persistent TUN device. It stays, detached, until a process
// attaches to it.
func makeTUN(l datapath.Link) error {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("open %s: %w; load the tun module (modprobe tun); in a container, pass the device on", path, err)
	case err != nil:
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(l.Name)
	if err != nil {
		return fmt.Errorf("name of %d bytes: %w", len(l.Name), unix.ERANGE)
	}
	flags := unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL
	if l.TUN.VnetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	if l.TUN.MultiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	ifr.SetUint16(uint16(flags))
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	if errors.Is(err, unix.EBUSY) {
		err = unix.EEXIST // what the kernel says of every other kind
	}
	if err != nil {
		return err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("set persistent: %w", err)
	}
	return nil
}

// readTUN returns the kind and flags of a TUN or TAP device. Before Linux 4.17
// netlink has nothing about them, and sysfs has. (A device of ours always has
// IFF_NO_PI, so that no flags at all means that.)
func readTUN(t *netlink.Tuntap) (kind string, flags datapath.TUN) {
	has := uint64(t.Flags) | uint64(t.Mode)
	if !t.NonPersist {
		has |= unix.IFF_PERSIST
	}
	if t.Flags == 0 {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", t.Name, "tun_flags"))
		if err == nil {
			has = parseTUNFlags(string(text))
		}
	}
	flags = datapath.TUN{VnetHdr: has&unix.IFF_VNET_HDR != 0, MultiQueue: has&unix.IFF_MULTI_QUEUE != 0}
	switch {
	case has&unix.IFF_TUN == 0:
		kind = "tap"
	case has&unix.IFF_PERSIST == 0:
		kind = "tun that goes with its process" // never wanted: re-made
	default:
		kind = "tun"
	}
	return kind, flags
}

// parseTUNFlags reads the content of tun_flags: IFF_* in hex, with 0x.
func parseTUNFlags(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 0, 32) // nothing: no TUN
	return n
}
