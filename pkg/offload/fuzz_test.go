package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzCutThenMerge: what is cut and not lost becomes what it was.
func FuzzCutThenMerge(f *testing.F) {
	f.Add(false, uint8(tcpACK), uint8(12), uint16(64000), uint16(1448), uint16(65530), uint32(0xffffff00), uint8(0x40))
	f.Add(false, uint8(tcpACK|tcpPSH), uint8(0), uint16(3001), uint16(1000), uint16(1), uint32(7), uint8(0))
	f.Add(false, uint8(tcpACK|tcpPSH|tcpFIN|tcpCWR), uint8(40), uint16(3001), uint16(1000), uint16(1), uint32(7), uint8(0))
	f.Add(true, uint8(0), uint8(0), uint16(1501), uint16(500), uint16(0xffff), uint32(0), uint8(0))
	f.Fuzz(func(t *testing.T, udp bool, flags, options uint8, payload, size, id uint16, seq uint32, fragment uint8) {
		size = max(size, 1)
		protocol, gsoType, limit := uint8(protoTCP), uint8(GSOTCP4), maxRunTCP
		if udp {
			protocol, gsoType, limit = protoUDP, GSOUDP4, maxRunUDP
		}
		p := packetOf(protocol, int(options%11)*4, int(min(payload, 65400)))
		p[6] = fragment & 0x40
		binary.BigEndian.PutUint16(p[4:], id)
		if !udp {
			p[33] = flags
			binary.BigEndian.PutUint32(p[24:], seq)
		}
		fix(p)
		h := leave(p, gsoType, int(size))
		segments, err := split(h, p)
		if errors.Is(err, ErrSegments) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := naiveSplit(p, int(size)); !equal(want, segments) {
			t.Fatalf("segments (-want +got):\n%s", cmp.Diff(want, segments))
		}

		merged := coalesce(segments, true)
		var again [][]byte
		for _, e := range merged {
			parts, err := split(e.Header, e.Packet)
			if err != nil {
				t.Fatalf("cut %+v again: %v", e.Header, err)
			}
			again = append(again, parts...)
		}
		if !equal(segments, again) {
			t.Errorf("cut, merged and cut again (-want +got):\n%s", cmp.Diff(segments, again))
		}

		if n := len(segments); n > 1 && n <= limit && (udp || flags&^tcpPSH == tcpACK) {
			h.HdrLen = uint16(len(segments[0])) - size
			if diff := cmp.Diff([]emitted{{h, p}}, merged); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		}
	})
}

// equal is cmp.Equal at the speed that fuzzing large packets needs.
func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// FuzzCoalesce makes packets of a flow by a program of one or more steps, each of
// which may spoil one, and compares with the reference what comes out.
func FuzzCoalesce(f *testing.F) {
	f.Add(true, []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(false, []byte{0, 0, 1, 5, 0, 0, 2, 30, 0, 0, 3, 40, 0, 0, 4, 100, 0, 0})
	f.Add(true, []byte{5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0})
	f.Fuzz(func(t *testing.T, udp bool, program []byte) {
		program = program[:min(len(program), 2*80)]
		var packets [][]byte
		for _, p := range runProgram(program) {
			parsed, err := ParseIPv4(p)
			if err != nil {
				continue
			}
			packets = append(packets, parsed)
		}
		if diff := cmp.Diff(naiveCoalesce(packets, udp), coalesce(packets, udp)); diff != "" {
			t.Errorf("emitted (-want +got):\n%s", diff)
		}
	})
}

// runProgram returns a packet per step of two bytes: what to do, and an argument.
func runProgram(program []byte) [][]byte {
	protocol, payload := uint8(protoTCP), 33
	id, seq, sameID := uint16(0xfffa), uint32(0xffffffc0), false
	var out [][]byte
	for len(program) >= 2 {
		op, arg := program[0], program[1]
		program = program[2:]
		p := packetOf(protocol, 4, payload)
		binary.BigEndian.PutUint16(p[4:], id)
		if protocol == protoTCP {
			binary.BigEndian.PutUint32(p[24:], seq)
		}
		fix(p)
		at := int(arg>>3) * 2 % len(p)
		switch op % 13 {
		case 1: // a bit flips on the way
			p[at] ^= 1 << (arg & 7)
		case 2: // one differs at the sender
			p[at] ^= 1 << (arg & 7)
			fixChecksums(p)
		case 3:
			p = p[:max(20, len(p)-int(arg))]
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		case 4:
			p = append(p, make([]byte, arg)...)
			fix(p)
		case 5:
			p = withIPOptions(p)
		case 6:
			protocol = protoTCP + protoUDP - protocol
		case 7:
			sameID = !sameID
		case 8:
			id += uint16(arg)
		case 9:
			seq += uint32(arg)
		case 10:
			payload = int(arg)
		case 11: // UDP without a checksum, TCP with a wrong one
			binary.BigEndian.PutUint16(p[checksumField(p):], 0)
		case 12:
			if protocol == protoTCP {
				p[33] |= arg
				fix(p)
			}
		}
		out = append(out, bytes.Clone(p))
		seq += uint32(payload)
		if !sameID {
			id++
		}
	}
	return out
}
