package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestLookupIsLongestMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		// Few addresses, so that prefixes lie within each other.
		var table table
		var all []*peer
		for range r.IntN(40) {
			p := &peer{Peer: Peer{Subnet: netip.PrefixFrom(address(0x0a000000|r.Uint32N(1<<8)<<4), r.IntN(33))}}
			table.insert(p)
			all = append(all, p)
		}
		for range 200 {
			a := 0x0a000000 | r.Uint32N(1<<12)
			var want *peer
			for _, p := range all {
				if networkOf(p.Subnet).contains(a) && (want == nil || p.Subnet.Bits() >= want.Subnet.Bits()) {
					want = p
				}
			}
			if got := table.lookup(a); got != want {
				t.Fatalf("%s of %v: got %v, want %v", address(a), all, got, want)
			}
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	const n = 5000
	for _, lengths := range [][]int{{24}, {24, 25}} {
		b.Run(fmt.Sprint(lengths), func(b *testing.B) {
			var table table
			for i := range n {
				table.insert(&peer{Peer: Peer{
					Subnet: netip.PrefixFrom(address(0x0a000000|uint32(i)<<8), lengths[i%len(lengths)]),
				}})
			}
			// A stride that is prime to n: no two in a row are neighbours.
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if table.lookup(0x0a000000|uint32(i*1237%n)<<8|7) == nil {
					b.Fatal("no peer")
				}
			}
		})
	}
}
