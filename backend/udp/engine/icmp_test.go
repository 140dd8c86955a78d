package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/checksum"
	"flanneld/pkg/offload"
)

// packet is an IPv4 packet from 10.1.0.2 to 10.1.9.2.
func packet(protocol byte, header int, fragment uint16, payload ...byte) offload.IPv4 {
	p := make([]byte, header+len(payload))
	p[0] = 0x40 | byte(header/4)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[6:], fragment)
	p[8], p[9] = 64, protocol
	copy(p[12:], []byte{10, 1, 0, 2, 10, 1, 9, 2})
	binary.BigEndian.PutUint16(p[10:], checksum.Sum(0).Add(p[:header]).Checksum())
	copy(p[header:], payload)
	return p
}

var ours = netip.MustParseAddr("10.1.0.0")

func TestICMPErrorHasTheOffendersHeaderAndEightBytes(t *testing.T) {
	offender := packet(17, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	got := appendError(nil, fragmentationNeeded, 1234, ours, offender)
	want, err := hex.DecodeString("45000038" + "00000000" + "0801" + "0000" + "0a010000" + "0a010002" +
		"0304" + "0000" + "0000" + "04d2")
	must(t, err)
	want = append(want, offender[:28]...)
	binary.BigEndian.PutUint16(want[10:], checksum.Sum(0).Add(want[:20]).Checksum())
	binary.BigEndian.PutUint16(want[22:], checksum.Sum(0).Add(want[20:]).Checksum())
	if !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
	short := packet(17, 20, 0, 1, 2)
	if got := appendError(nil, timeExceeded, 0, ours, short); len(got) != 28+22 {
		t.Errorf("of a short packet: %d bytes, want all of it after 28", len(got))
	}
	long := packet(6, 60, 0, make([]byte, 100)...)
	if got := appendError(nil, timeExceeded, 0, ours, long); len(got) != icmpMaxLen {
		t.Errorf("of the longest header: %d bytes, want %d", len(got), icmpMaxLen)
	}
}

func TestICMPErrorsAreSuppressed(t *testing.T) {
	from := func(src string, p offload.IPv4) offload.IPv4 {
		a := netip.MustParseAddr(src).As4()
		copy(p[12:], a[:])
		return p
	}
	udp := func() offload.IPv4 { return packet(17, 20, 0, make([]byte, 8)...) }
	multicast := udp()
	copy(multicast[16:], []byte{224, 0, 0, 1})
	for name, row := range map[string]struct {
		p                   offload.IPv4
		unreachable, others bool // whether they are sent
	}{
		"UDP":                   {udp(), true, true},
		"an echo request":       {packet(1, 20, 0, 8, 0, 0, 0), false, true},
		"an ICMP error":         {packet(1, 20, 0, 3, 1, 0, 0), false, false},
		"empty ICMP":            {packet(1, 20, 0), false, false},
		"the first fragment":    {packet(17, 20, 0x2000, make([]byte, 8)...), true, true},
		"a later fragment":      {packet(17, 20, 0x2001, make([]byte, 8)...), false, false},
		"the last fragment":     {packet(17, 20, 0x0001, make([]byte, 8)...), false, false},
		"the longest header":    {packet(17, 60, 0, make([]byte, 8)...), false, true},
		"no source":             {from("0.0.0.0", udp()), false, false},
		"a multicast source":    {from("224.0.0.1", udp()), false, false},
		"a loopback source":     {from("127.0.0.1", udp()), false, false},
		"the broadcast address": {from("255.255.255.255", udp()), false, false},
		"to multicast":          {multicast, false, false},
	} {
		for e, want := range map[icmpError]bool{netUnreachable: row.unreachable, timeExceeded: row.others, fragmentationNeeded: row.others} {
			if got := len(appendError(nil, e, 0, ours, row.p)) > 0; got != want {
				t.Errorf("%s, error %v: sent %v, want %v", name, e, got, want)
			}
		}
	}
}

func FuzzICMP(f *testing.F) {
	f.Add([]byte(packet(17, 20, 0, 1, 2, 3)))
	f.Add([]byte(packet(1, 24, 0, 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := offload.ParseIPv4(b)
		if err != nil {
			return
		}
		for _, e := range []icmpError{netUnreachable, fragmentationNeeded, timeExceeded} {
			got := appendError(nil, e, 1500, ours, p)
			if len(got) == 0 {
				continue
			}
			q, err := offload.ParseIPv4(got)
			if err != nil || len(q) != len(got) || len(got) > icmpMaxLen || !q.ValidHeaderChecksum() ||
				checksum.Sum(0).Add(q.Payload()).Fold() != 0xffff {
				t.Fatalf("of % x: % x, %v", b, got, err)
			}
		}
	})
}

func TestLimiter(t *testing.T) {
	l := limiter{perSecond: 10}
	now := time.Unix(0, 0)
	count := func() (n int) {
		for range 100 {
			if l.allow(now) {
				n++
			}
		}
		return n
	}
	if got := count(); got != 10 {
		t.Errorf("at once: %d, want 10", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := count(); got != 5 {
		t.Errorf("after half a second: %d, want 5", got)
	}
	now = now.Add(time.Hour)
	if got := count(); got != 10 {
		t.Errorf("after an hour: %d, want 10", got)
	}
}

func TestCountersHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range numCounters {
		s := c.String()
		if s == "" || strings.HasSuffix(s, "_") || seen[s] {
			t.Errorf("counter %d is called %q", c, s)
		}
		seen[s] = true
	}
}
