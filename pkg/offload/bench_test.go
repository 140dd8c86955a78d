package offload

import (
	"testing"

	"golang.org/x/sys/cpu"
)

// withAndWithoutAVX2 runs a benchmark twice; it reports the time per segment.
func withAndWithoutAVX2(b *testing.B, segments int, run func(b *testing.B)) {
	has := cpu.X86.HasAVX2
	defer func() { cpu.X86.HasAVX2 = has }()
	for name, on := range map[string]bool{"avx2": true, "portable": false} {
		b.Run(name, func(b *testing.B) {
			if on && !has {
				b.Skip("this processor has no AVX2")
			}
			cpu.X86.HasAVX2 = on
			run(b)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*segments), "ns/segment")
		})
	}
}

// A full super-packet of an MTU of 1472: 45 segments.
const (
	benchSegments = 45
	benchPayload  = 1420
)

func BenchmarkSplit(b *testing.B) {
	p := IPv4(tcpPacket(benchSegments * benchPayload))
	h := leave(p, GSOTCP4, benchPayload)
	arena := make([]byte, 100)
	var s Splitter
	withAndWithoutAVX2(b, benchSegments, func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			if err := s.Start(h, p); err != nil {
				b.Fatal(err)
			}
			for s.Left() > 0 {
				s.Next(arena)
			}
		}
	})
}

func BenchmarkCoalesce(b *testing.B) {
	packets := stream(b, protoTCP, benchSegments, benchPayload)
	first := make([]byte, len(packets[0]))
	emitted := 0
	c := Coalescer{Emit: func(Header, [][]byte) { emitted++ }}
	withAndWithoutAVX2(b, benchSegments, func(b *testing.B) {
		emitted = 0
		b.SetBytes(benchSegments * int64(len(first)))
		for b.Loop() {
			copy(first, packets[0])
			c.Add(first)
			for _, p := range packets[1:] {
				c.Add(p)
			}
			c.Flush()
		}
		if emitted != b.N {
			b.Fatalf("%d packets emitted of %d rounds", emitted, b.N)
		}
	})
}

// BenchmarkCoalesceSmall is datagrams of 64 bytes, which count by themselves.
func BenchmarkCoalesceSmall(b *testing.B) {
	packets := stream(b, protoUDP, maxRunUDP, 36)
	first := make([]byte, len(packets[0]))
	c := Coalescer{UDP: true, Emit: func(Header, [][]byte) {}}
	for b.Loop() {
		copy(first, packets[0])
		c.Add(first)
		for _, p := range packets[1:] {
			c.Add(p)
		}
		c.Flush()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*maxRunUDP), "ns/segment")
}

func BenchmarkParseAndDecrementTTL(b *testing.B) {
	packet := tcpPacket(0)
	for b.Loop() {
		p, err := ParseIPv4(packet)
		if err != nil {
			b.Fatal(err)
		}
		p[8] = 64
		p.DecrementTTL()
	}
}
