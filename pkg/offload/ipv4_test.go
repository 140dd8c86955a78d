package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIPv4(t *testing.T) {
	p := tcpPacket(10)
	edit := func(at int, v ...byte) []byte { p := bytes.Clone(p); copy(p[at:], v); return p }
	for name, c := range map[string]struct {
		in   []byte
		want int // length
		err  error
	}{
		"a packet":                   {p, 62, nil},
		"padding":                    {append(bytes.Clone(p), 0, 0), 62, nil},
		"header only":                {edit(2, 0, 20), 20, nil},
		"nothing":                    {nil, 0, ErrShort},
		"cut off":                    {p[:19], 0, ErrShort},
		"IPv6, however short":        {[]byte{0x60}, 0, ErrIPv6},
		"version 5":                  {edit(0, 0x55), 0, ErrVersion},
		"IHL 4":                      {edit(0, 0x44), 0, ErrHeaderLength},
		"IHL beyond the packet":      {edit(0, 0x4f)[:59], 0, ErrHeaderLength},
		"total less than the header": {edit(2, 0, 19), 0, ErrTotalLength},
		"total more than there is":   {edit(2, 0, 63), 0, ErrTotalLength},
	} {
		got, err := ParseIPv4(c.in)
		if len(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d bytes, %v; want %d, %v", name, len(got), err, c.want, c.err)
		}
	}
}

func TestFieldsOfAPacket(t *testing.T) {
	p := IPv4(withIPOptions(tcpPacket(10)))
	type fields struct {
		Src, Dst      netip.Addr
		Protocol, TTL uint8
		Header        int
		DF, Fragment  bool
		Payload       int
		Valid         bool
	}
	want := fields{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.9.8"), 6, 63, 28, true, false, 42, true}
	got := fields{p.Src(), p.Dst(), p.Protocol(), p[8], p.HeaderLen(), p.DontFragment(), p.IsFragment(), len(p.Payload()), p.ValidHeaderChecksum()}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p[12]++
	if p.ValidHeaderChecksum() {
		t.Error("checksum still valid after a change")
	}
	for _, fragment := range []uint16{0x2000, 0x0001, 0x1fff, 0x6000} {
		binary.BigEndian.PutUint16(p[6:], fragment)
		if !p.IsFragment() {
			t.Errorf("%#04x is no fragment", fragment)
		}
	}
}

func TestDecrementTTLKeepsTheChecksumAsRightAsItWas(t *testing.T) {
	p := IPv4(tcpPacket(0))
	for id := range 1 << 16 {
		binary.BigEndian.PutUint16(p[4:], uint16(id))
		p[8] = byte(id%254) + 2
		fix(p)
		before := p[8]
		if !p.DecrementTTL() || p[8] != before-1 || !p.ValidHeaderChecksum() {
			t.Fatalf("ID %d, TTL %d: TTL is now %d, checksum valid: %t", id, before, p[8], p.ValidHeaderChecksum())
		}
	}
	p[10]++
	if p.DecrementTTL(); p.ValidHeaderChecksum() {
		t.Error("a wrong checksum became right")
	}
}

func TestDecrementTTLStopsBeforeZero(t *testing.T) {
	for _, ttl := range []byte{0, 1} {
		p := IPv4(tcpPacket(0))
		p[8] = ttl
		before := bytes.Clone(p)
		if p.DecrementTTL() || !bytes.Equal(before, p) {
			t.Errorf("TTL %d: goes on, or changed", ttl)
		}
	}
}

func TestHeaderIsEncodedAsTheKernelsStruct(t *testing.T) {
	h := Header{Flags: 1, GSOType: 5, HdrLen: 0x0102, GSOSize: 0x0304, CsumStart: 0x0506, CsumOffset: 0x0708}
	b := make([]byte, HeaderLen)
	h.Encode(b)
	want := []byte{1, 5}
	for _, v := range []uint16{0x0102, 0x0304, 0x0506, 0x0708} {
		want = binary.NativeEndian.AppendUint16(want, v)
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	back, err := DecodeHeader(append(b, 0x45))
	if back != h || err != nil {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

func TestDecodeHeaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"nine bytes":      {make([]byte, 9), ErrShort},
		"UFO":             {[]byte{0, 3, 0, 0, 1, 1, 0, 0, 0, 0}, ErrGSOType},
		"unknown type":    {[]byte{0, 6, 0, 0, 1, 1, 0, 0, 0, 0}, ErrGSOType},
		"ECN of nothing":  {[]byte{0, 0x80, 0, 0, 1, 1, 0, 0, 0, 0}, ErrGSOType},
		"no segment size": {[]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, ErrGSOSize},
	} {
		if h, err := DecodeHeader(c.in); !errors.Is(err, c.want) || h != (Header{}) {
			t.Errorf("%s: got %+v, %v; want %v", name, h, err, c.want)
		}
	}
}
