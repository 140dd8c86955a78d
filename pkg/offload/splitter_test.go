package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/netlab/labtest"
)

func TestSplitIsTheReferenceByteForByte(t *testing.T) {
	labtest.Native(t)
	for name, flags := range map[string]byte{
		"ACK":         tcpACK,
		"ACK PSH FIN": tcpACK | tcpPSH | tcpFIN,
		"ACK CWR PSH": tcpACK | tcpCWR | tcpPSH,
		"all":         0xff,
	} {
		for _, payload := range []int{0, 1, 999, 1000, 1001, 3000, 64000} {
			for _, options := range []int{0, 12, 40} {
				p := packetOf(protoTCP, options, payload)
				p[33] = flags
				h := leave(p, GSOTCP4, 1000)
				got, err := split(h, p)
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", name, payload, err)
				}
				// To look for the difference takes long.
				if want := naiveSplit(p, 1000); !slices.EqualFunc(want, got, bytes.Equal) {
					t.Errorf("%s, %d bytes, options of %d (-want +got):\n%s", name, payload, options, cmp.Diff(want, got))
				}
			}
		}
	}
	for _, payload := range []int{0, 1, 472, 1415, 65507} {
		p := udpPacket(payload)
		got, err := split(leave(p, GSOUDP4, 472), p)
		if err != nil {
			t.Fatalf("UDP, %d bytes: %v", payload, err)
		}
		if diff := cmp.Diff(naiveSplit(p, 472), got); diff != "" {
			t.Errorf("UDP, %d bytes (-want +got):\n%s", payload, diff)
		}
	}
}

func TestSplitKeepsIPOptions(t *testing.T) {
	p := withIPOptions(tcpPacket(2500))
	got, err := split(leave(p, GSOTCP4|gsoECN, 1000), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(naiveSplit(p, 1000), got); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
}

// withIPOptions returns p with eight bytes of options.
func withIPOptions(p []byte) []byte {
	out := append(bytes.Clone(p[:20]), 1, 1, 1, 1, 1, 1, 1, 0)
	out = append(out, p[20:]...)
	out[0] = 0x47
	fix(out)
	return out
}

func TestPayloadOfSegmentsIsNotCopied(t *testing.T) {
	p := tcpPacket(2000)
	var s Splitter
	if err := s.Start(leave(p, GSOTCP4, 1000), p); err != nil {
		t.Fatal(err)
	}
	arena := make([]byte, 100)
	first := s.Next(arena)
	if &first.Payload[0] != &p[52] || &first.Head[0] != &arena[0] {
		t.Error("payload or head is elsewhere than promised")
	}
	if cap(first.Payload) != 1000 || cap(first.Head) != 52 {
		t.Error("an append to a piece would write over what follows")
	}
	if first.Len() != 1052 || s.Left() != 1 {
		t.Errorf("Len %d, Left %d", first.Len(), s.Left())
	}
}

func TestUDPChecksumIsNeverZero(t *testing.T) {
	p := udpPacket(4)
	// Make the sum of all else 0xffff, so that the checksum is zero.
	binary.BigEndian.PutUint16(p[28:], 0)
	fixChecksums(p)
	binary.BigEndian.PutUint16(p[28:], binary.BigEndian.Uint16(p[26:]))
	fixChecksums(p)
	if got := binary.BigEndian.Uint16(p[26:]); got != 0xffff {
		t.Fatalf("checksum of the test's packet is %#04x", got)
	}
	want := bytes.Clone(p)
	h := leave(p, GSOUDP4, 100)
	for name, h := range map[string]Header{"cut": h, "completed": {Flags: h.Flags, CsumStart: 20, CsumOffset: 6}} {
		got, err := split(h, p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]byte{want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSinglePacketsAreCompletedOrLeftAlone(t *testing.T) {
	complete := tcpPacket(11)
	partial := bytes.Clone(complete)
	h := leave(partial, GSONone, 0)
	for name, c := range map[string]struct {
		header   Header
		in, want []byte
	}{
		"nothing asked":     {Header{}, partial, partial},
		"checksum verified": {Header{Flags: DataValid}, complete, complete},
		"checksum asked":    {h, partial, complete},
		"hdr_len nonsense":  {Header{Flags: h.Flags, CsumStart: 20, CsumOffset: 16, HdrLen: 65535}, partial, complete},
	} {
		got, err := split(c.header, c.in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff([][]byte{c.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	tcp, udp := tcpPacket(3000), udpPacket(3000)
	h, u := leave(tcp, GSOTCP4, 1000), leave(udp, GSOUDP4, 1000)
	with := func(h Header, change func(*Header)) Header { change(&h); return h }
	edit := func(p []byte, at int, v ...byte) []byte { p = bytes.Clone(p); copy(p[at:], v); return p }

	for name, c := range map[string]struct {
		header Header
		packet []byte
		want   error
	}{
		"UFO":                      {with(u, func(h *Header) { h.GSOType = 3 }), udp, ErrGSOType},
		"TCP over IPv6":            {with(h, func(h *Header) { h.GSOType = gsoTCPv6 }), tcp, ErrGSOType},
		"ECN of UDP":               {with(u, func(h *Header) { h.GSOType |= gsoECN }), udp, ErrGSOType},
		"UDP as TCP":               {h, udp, ErrGSOType},
		"TCP as UDP":               {u, tcp, ErrGSOType},
		"segment size zero":        {with(h, func(h *Header) { h.GSOSize = 0 }), tcp, ErrGSOSize},
		"first fragment":           {h, edit(tcp, 6, 0x20, 0), ErrFragment},
		"later fragment":           {h, edit(tcp, 6, 0, 1), ErrFragment},
		"fragment to complete":     {with(h, func(h *Header) { h.GSOType = 0 }), edit(tcp, 6, 0x20, 0), ErrFragment},
		"TCP header cut off":       {h, tcp[:39], ErrTransportHeader},
		"TCP options cut off":      {h, tcp[:51], ErrTransportHeader},
		"TCP data offset too low":  {h, edit(tcp, 32, 0x40), ErrTransportHeader},
		"UDP header cut off":       {u, udp[:27], ErrTransportHeader},
		"no checksum asked":        {with(h, func(h *Header) { h.Flags = 0 }), tcp, ErrChecksumField},
		"checksum starts early":    {with(h, func(h *Header) { h.CsumStart = 19 }), tcp, ErrChecksumField},
		"checksum elsewhere":       {with(h, func(h *Header) { h.CsumOffset = 6 }), tcp, ErrChecksumField},
		"checksum in the header":   {Header{Flags: NeedsChecksum, CsumStart: 10, CsumOffset: 16}, tcp, ErrChecksumField},
		"checksum behind the end":  {Header{Flags: NeedsChecksum, CsumStart: 20, CsumOffset: 3032}, tcp, ErrChecksumField},
		"checksum half behind":     {Header{Flags: NeedsChecksum, CsumStart: 20, CsumOffset: 3030}, tcp[:3051], ErrChecksumField},
		"checksum far behind":      {Header{Flags: NeedsChecksum, CsumStart: 65535, CsumOffset: 65534}, tcp, ErrChecksumField},
		"checksum at an odd place": {Header{Flags: NeedsChecksum, CsumStart: 20, CsumOffset: 15}, tcp, ErrChecksumField},
		"too many segments":        {with(h, func(h *Header) { h.GSOSize = 1 }), tcp, ErrSegments},
	} {
		p := bytes.Clone(c.packet)
		var s Splitter
		err := s.Start(c.header, p)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if s.Left() != 0 || !bytes.Equal(p, c.packet) {
			t.Errorf("%s: %d segments left, packet changed: %t", name, s.Left(), !bytes.Equal(p, c.packet))
		}
	}
}

func TestSplitDoesNotAllocate(t *testing.T) {
	p := tcpPacket(64000)
	h := leave(p, GSOTCP4, 1448)
	bad := Header{Flags: NeedsChecksum}
	arena := make([]byte, 100)
	var s Splitter
	var err error
	allocs := testing.AllocsPerRun(10, func() {
		err = s.Start(bad, p)
		_ = s.Start(h, p)
		for s.Left() > 0 {
			s.Next(arena)
		}
	})
	if allocs != 0 || err == nil {
		t.Errorf("%v allocations, error %v", allocs, err)
	}
}

// FuzzSplit takes any header and packet. What is cut equals the reference.
func FuzzSplit(f *testing.F) {
	add := func(h Header, p []byte) {
		b := make([]byte, HeaderLen)
		h.Encode(b)
		f.Add(append(b, p...))
	}
	for _, p := range [][]byte{tcpPacket(100), withIPOptions(tcpPacket(100)), udpPacket(100)} {
		add(Header{}, p)
		add(leave(bytes.Clone(p), GSONone, 0), p)
		add(leave(bytes.Clone(p), GSOTCP4, 30), p)
		add(leave(bytes.Clone(p), GSOUDP4, 30), p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		if err != nil {
			return
		}
		p, err := ParseIPv4(b[HeaderLen:])
		if err != nil {
			return
		}
		got, err := split(h, p)
		if err != nil {
			return
		}
		switch {
		case h.GSOType != GSONone:
			if diff := cmp.Diff(naiveSplit(p, int(h.GSOSize)), got); diff != "" {
				t.Errorf("segments (-want +got):\n%s", diff)
			}
		case h.Flags&NeedsChecksum == 0:
			if diff := cmp.Diff([][]byte{p}, got); diff != "" {
				t.Errorf("plain packet (-want +got):\n%s", diff)
			}
		default:
			// The field had what is to be added beside the packet.
			field := h.CsumStart + h.CsumOffset
			old := got[0][field : field+2]
			want := naiveSum(p[h.CsumStart:])
			if got := ^binary.BigEndian.Uint16(old); got != want && !(got == 0 && want == 0xffff) {
				t.Errorf("completed %#04x, want %#04x", ^got, ^want)
			}
		}
	})
}
