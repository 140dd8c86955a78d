package udpbatch

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzInodes takes any table. What is found is a field of it, and whoever has all
// addresses is in everybody's way.
func FuzzInodes(f *testing.F) {
	f.Add("  sl  local_address rem_address\n"+line(netip.MustParseAddrPort("192.0.2.1:8285"), 17), uint16(8285))
	f.Add(line(netip.MustParseAddrPort("0.0.0.0:53"), 1)+"nonsense\n", uint16(53))
	f.Add("0: 0100007F:205D:1 0 0 0 0 0 0 0 9", uint16(8285))
	f.Fuzz(func(t *testing.T, table string, port uint16) {
		one := inodes(table, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), port))
		all := inodes(table, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
		for inode := range one {
			if !all[inode] || !strings.Contains(table, inode) {
				t.Errorf("found %q, and with all addresses %v", inode, all)
			}
		}
	})
}
