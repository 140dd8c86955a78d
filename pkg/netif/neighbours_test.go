package netif

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/labtest"
)

func TestNeighboursAreThoseOfSysctl(t *testing.T) {
	labtest.Native(t) // qemu does not pass on how the tables are asked for
	got, err := Neighbours()
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range map[string]uint32{"gc_thresh2": got.Soft, "gc_thresh3": got.Hard} {
		text, err := os.ReadFile("/proc/sys/net/ipv4/neigh/default/" + name)
		if err != nil {
			t.Skip("only the machine's own namespace has the files: ", err)
		}
		if want := strings.TrimSpace(string(text)); want != strconv.Itoa(int(limit)) {
			t.Errorf("%s is %s, and %d is read", name, want, limit)
		}
	}
}

// neighbourTable is what the kernel says of one.
func neighbourTable(name string, attrs ...*nl.RtAttr) []byte {
	m := append(make([]byte, 4), nl.NewRtAttr(ndtaName, nl.ZeroTerminated(name)).Serialize()...)
	for _, a := range attrs {
		m = append(m, a.Serialize()...)
	}
	return m
}

func TestParseNeighbourTable(t *testing.T) {
	number := func(typ int, n uint32) *nl.RtAttr { return nl.NewRtAttr(typ, binary.NativeEndian.AppendUint32(nil, n)) }
	stats := make([]byte, fullsAt, fullsAt+8)
	limits := []*nl.RtAttr{number(ndtaThresh2, 512), number(ndtaThresh3, 1024), nl.NewRtAttr(ndtaStats, binary.NativeEndian.AppendUint64(stats, 7))}
	for _, tt := range []struct {
		name string
		m    []byte
		want NeighbourTable
		ok   bool
	}{
		{"ARP's", neighbourTable("arp_cache", limits...), NeighbourTable{512, 1024, 7}, true},
		{"without statistics", neighbourTable("arp_cache", limits[:2]...), NeighbourTable{512, 1024, 0}, true},
		{"IPv6's", neighbourTable("ndisc_cache", limits...), NeighbourTable{}, false},
		{"a device's", neighbourTable("arp_cache"), NeighbourTable{}, false},
		{"short", []byte{unix.AF_INET}, NeighbourTable{}, false},
	} {
		if got, ok := parseNeighbourTable(tt.m); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %v", tt.name, got, ok)
		}
	}
}

func FuzzParseNeighbourTable(f *testing.F) {
	f.Add(neighbourTable("arp_cache", nl.NewRtAttr(ndtaThresh3, []byte{1})))
	f.Fuzz(func(_ *testing.T, m []byte) { parseNeighbourTable(m) })
}
