package engine

import (
	"net/netip"
	"testing"

	"flanneld/pkg/offload"
)

func TestWhoAsksAFastPathGetsNoAnswerFromTheEngine(t *testing.T) {
	from, to := netip.MustParseAddr("10.5.2.0"), netip.MustParseAddr("10.5.1.0")
	for _, row := range []struct {
		name string
		kind uint16
		id   uint32
		data string
		want bool
	}{
		{"an ask", echoRequest << 8, WayPing, WayWord + "…", true},
		{"an answer", echoReply << 8, WayPing, WayWord, true},
		{"an error about one", 3 << 8, WayPing, WayWord, false},
		{"somebody's ping with that id", echoRequest << 8, WayPing, "kwa", false},
		{"another id", echoRequest << 8, ProbeID, WayWord, false},
		{"nothing behind the head", echoRequest << 8, WayPing, "", false},
	} {
		packet := appendICMP(nil, probeTTL, from, to, row.kind, row.id<<16, []byte(row.data))
		p, err := offload.ParseIPv4(packet)
		if err != nil {
			t.Fatal(err)
		}
		if got := isWayPing(p); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
		packet[6] = 0x20 // a first fragment
		if p, err := offload.ParseIPv4(packet); err != nil || isWayPing(p) {
			t.Errorf("%s, a fragment: %v", row.name, err)
		}
	}
}
