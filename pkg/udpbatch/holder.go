package udpbatch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"flanneld/pkg/netif"
)

// inUse says which port is taken, by whom, and what to do.
func inUse(local netip.AddrPort, err error) error {
	who := "another process"
	if table, readErr := os.ReadFile("/proc/thread-self/net/udp"); readErr == nil {
		if h := holder("/proc", inodes(string(table), local)); h != "" {
			who = h
		} else if link := netif.TunnelAt(int(local.Port())); link != "" {
			who = "interface " + link
		}
	}
	return fmt.Errorf("%w: %s has port %d; end it or choose another port", err, who, local.Port())
}

// inodes returns those of the sockets in a table in the format of
// /proc/net/udp that stand in the way of the local address.
func inodes(table string, local netip.AddrPort) map[string]bool {
	found := make(map[string]bool)
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		at, ok := parseAddrPort(fields[1])
		if !ok || at.Port() != local.Port() {
			continue
		}
		if at.Addr() == local.Addr() || at.Addr().IsUnspecified() || local.Addr().IsUnspecified() {
			found[fields[9]] = true
		}
	}
	return found
}

// parseAddrPort parses "0100007F:205D": the address as the integer that its
// bytes are in memory, the port as a number.
func parseAddrPort(s string) (netip.AddrPort, bool) {
	var address uint32
	var port uint16
	if _, err := fmt.Sscanf(s, "%08x:%04x", &address, &port); err != nil {
		return netip.AddrPort{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], address)
	return netip.AddrPortFrom(netip.AddrFrom4(b), port), true
}

// holder returns the first process found to have one of the sockets open, as
// "process 17 (name)"; nothing if it cannot be seen.
func holder(proc string, inodes map[string]bool) string {
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		return fmt.Sprintf("process %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name)))
	}
	return ""
}
