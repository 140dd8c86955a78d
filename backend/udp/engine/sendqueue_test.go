package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"flanneld/pkg/offload"
)

func TestTrainsAreOfOnePeerAndOneSize(t *testing.T) {
	a, b := &peer{}, &peer{}
	for name, row := range map[string]struct {
		peers   []*peer
		lengths []int
		want    string // packets x size of each message
	}{
		"equal":                    {nil, []int{100, 100, 100}, "3x100"},
		"the last is shorter":      {nil, []int{100, 100, 40, 40}, "3x100 1x40"},
		"a longer one":             {nil, []int{100, 101, 101}, "1x100 2x101"},
		"shorter, then equal":      {nil, []int{100, 40, 100}, "2x100 1x100"},
		"peers in turn":            {[]*peer{a, b, a}, []int{9, 9, 9}, "1x9 1x9 1x9"},
		"no more than 65507 bytes": {nil, repeat(1472, 45), "44x1472 1x1472"},
		"no more than 64":          {nil, repeat(20, 130), "64x20 64x20 2x20"},
	} {
		for _, batches := range []bool{true, false} {
			o := newSendQueue(batches, make([]byte, headArena))
			for i, n := range row.lengths {
				p := a
				if row.peers != nil {
					p = row.peers[i]
				}
				// In one piece and in two.
				s := offload.Segment{Head: make([]byte, n-n/2*(i%2)), Payload: make([]byte, n/2*(i%2))}
				o.add(p, s, 0, batches)
			}
			var got []string
			packets := 0
			for _, m := range o.messages {
				got = append(got, fmt.Sprintf("%dx%d", m.count, m.size))
				bytes := 0
				for _, p := range o.packets[m.first:][:m.count] {
					bytes += p.length
					if n := len(o.piecesOf(&p)); n != p.count {
						t.Errorf("%s: %d pieces, want %d", name, n, p.count)
					}
				}
				if bytes != m.bytes || m.first != packets {
					t.Errorf("%s: message from %d of %d bytes, want from %d of %d", name, m.first, m.bytes, packets, bytes)
				}
				packets += m.count
			}
			if s := strings.Join(got, " "); batches && s != row.want {
				t.Errorf("%s: got %s, want %s", name, s, row.want)
			}
			if !batches && len(got) != len(row.lengths) {
				t.Errorf("%s, no batches: %d messages, want %d", name, len(got), len(row.lengths))
			}
		}
	}
}

func repeat(n, times int) []int {
	var all []int
	for range times {
		all = append(all, n)
	}
	return all
}

func TestOutboxIsFullBeforeItOverflows(t *testing.T) {
	o := newSendQueue(true, make([]byte, headArena))
	p := &peer{Peer: Peer{Endpoint: netip.MustParseAddrPort("192.0.2.1:8285")}}
	n := 0
	for ; !o.full(); n++ {
		o.add(p, offload.Segment{Head: o.heads[o.used:][:120], Payload: make([]byte, 1)}, 120, true)
	}
	o.seal()
	if n != maxOut || o.left() != len(o.messages) {
		t.Errorf("%d packets, %d messages to send of %d", n, o.left(), len(o.messages))
	}
	o.reset()
	if o.full() || o.left() != 0 {
		t.Error("not empty after reset")
	}
}
