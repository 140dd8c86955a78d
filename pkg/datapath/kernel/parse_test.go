package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// payload returns what encode wrote for a route, without the netlink header.
func payload(t testing.TB, r datapath.Route) []byte {
	t.Helper()
	var b batch
	index := 0
	if r.Link != "" {
		index = 7
	}
	b.encode(datapath.Op{Verb: datapath.Set, Object: r}, index)
	return b.buf.b[unix.SizeofNlMsghdr:]
}

var parseRoutes = []datapath.Route{
	{Dst: netip.MustParsePrefix("10.5.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.2"), Link: "eth0", Protocol: 77},
	{Dst: netip.MustParsePrefix("10.5.2.0/24"), Gateway: netip.MustParseAddr("10.5.2.0"), Link: "eth0", OnLink: true, Protocol: 77},
	{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "eth0", Metric: 100, Protocol: 3},
	{Dst: netip.MustParsePrefix("10.5.0.0/16"), Type: datapath.Blackhole, Protocol: 77},
	{Dst: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("2001:db8::2"), Link: "eth0", Metric: 1024, Protocol: 77},
	{Dst: netip.MustParsePrefix("::/0"), Type: datapath.Blackhole, Metric: 7, Protocol: 77},
}

func TestParseRouteReadsWhatWeWrite(t *testing.T) {
	for _, want := range parseRoutes {
		got, index, ok := parseRoute(payload(t, want))
		if index == 7 {
			got.Link = "eth0"
		}
		if !ok || got != want {
			t.Errorf("parseRoute: %v, %t, want %v", got, ok, want)
		}
	}
}

// FuzzParseRoute holds the parsers to any bytes: no panic, and what is accepted
// is a proper route that survives being written.
func FuzzParseRoute(f *testing.F) {
	for _, r := range parseRoutes {
		f.Add(payload(f, r))
	}
	f.Add([]byte{})
	short := payload(f, parseRoutes[2])[:unix.SizeofRtMsg:unix.SizeofRtMsg]
	// Attributes that are shorter than what they should hold.
	for _, typ := range []byte{unix.RTA_OIF, unix.RTA_PRIORITY, unix.RTA_DST, unix.RTA_GATEWAY} {
		f.Add(append(short, 4, 0, typ, 0))
		f.Add(append(short, 6, 0, typ, 0, 1, 2, 0, 0))
	}
	f.Add(append(short, 0, 0, 1, 0))
	f.Add(append(short, 255, 255, 1, 0, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, data := range attrs(b) {
			total += len(data)
		}
		if total > len(b) {
			t.Errorf("attributes of %d bytes in %d", total, len(b))
		}
		route, _, ok := parseRoute(b)
		if !ok {
			return
		}
		if !route.Dst.IsValid() || route.Foreign || route.Link != "" {
			t.Errorf("accepted %v", route)
		}
		again, _, ok := parseRoute(payload(t, route))
		if route.Type == datapath.OtherType {
			return // not all of it is kept
		}
		if !ok || again != route {
			t.Errorf("read %v, wrote and read %v", route, again)
		}
	})
}
