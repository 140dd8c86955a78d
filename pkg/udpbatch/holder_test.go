package udpbatch

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// line is one of /proc/net/udp.
func line(at netip.AddrPort, inode int) string {
	a := at.Addr().As4()
	return fmt.Sprintf("  117: %08X:%04X 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 %d 2 0 0\n",
		binary.NativeEndian.Uint32(a[:]), at.Port(), inode)
}

func TestInodesOfSocketsInTheWay(t *testing.T) {
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		line(netip.MustParseAddrPort("192.0.2.1:8285"), 1) +
		line(netip.MustParseAddrPort("192.0.2.2:8285"), 2) +
		line(netip.MustParseAddrPort("0.0.0.0:8285"), 3) +
		line(netip.MustParseAddrPort("192.0.2.1:53"), 4) +
		"nonsense\n"
	for local, want := range map[string]string{
		"192.0.2.1:8285": "1 3",
		"0.0.0.0:8285":   "1 2 3",
		"192.0.2.9:8285": "3",
		"192.0.2.1:99":   "",
	} {
		got := slices.Sorted(maps.Keys(inodes(table, netip.MustParseAddrPort(local))))
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", local, got, want)
		}
	}
}

func TestHolder(t *testing.T) {
	proc := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(proc, "17", "fd"), 0o755),
		os.Symlink("/dev/null", filepath.Join(proc, "17", "fd", "0")),
		os.Symlink("socket:[4711]", filepath.Join(proc, "17", "fd", "3")),
		os.WriteFile(filepath.Join(proc, "17", "comm"), []byte("named\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := holder(proc, map[string]bool{"4711": true}), "process 17 (named)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := holder(proc, map[string]bool{"1": true}); got != "" {
		t.Errorf("got %q of a socket that is nobody's", got)
	}
}
