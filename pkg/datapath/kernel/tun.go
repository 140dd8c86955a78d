package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/tun"
)

// makeTUN makes a persistent TUN device. It stays, detached, until a process
// attaches to it.
func makeTUN(l datapath.Link) error {
	if _, err := linkByName(l.Name); err == nil {
		return unix.EEXIST // to open one that is there would attach to it
	}
	o := tun.Options{Name: l.Name, Persist: true, NoHeader: !l.TUN.VnetHdr}
	if l.TUN.MultiQueue {
		o.Queues = 2
	}
	d, err := tun.Open(o)
	if err != nil {
		return err
	}
	return d.Close()
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
