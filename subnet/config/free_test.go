package config

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func rangeOf(network string, length int, least, most string) Range {
	return Range{Network: netip.MustParsePrefix(network), SubnetLen: length,
		Min: netip.MustParseAddr(least), Max: netip.MustParseAddr(most)}
}

// freeModel lists every free subnet, one after the other.
func freeModel(r Range, taken []netip.Prefix) map[netip.Prefix]bool {
	free := map[netip.Prefix]bool{}
	for a := r.Min; ; {
		p := netip.PrefixFrom(a, r.SubnetLen)
		hit := false
		for _, t := range taken {
			hit = hit || t.IsValid() && p.Overlaps(t)
		}
		if !hit {
			free[p] = true
		}
		if a == r.Max {
			return free
		}
		a = lastSubnet(p, a.BitLen()).Next()
	}
}

func FuzzFreeAgreesWithTheModel(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), []byte{10, 1, 4, 0, 24, 10, 1, 5, 0, 26, 10, 1, 0, 0, 20})
	f.Add(uint64(3), []byte{10, 1, 3, 0, 16, 0, 0, 0, 0, 1})
	f.Add(uint64(4), []byte{10, 1, 60, 128, 25, 10, 1, 2, 0, 23, 10, 0, 0, 0, 24})
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		r := rangeOf("10.1.0.0/16", 24, "10.1.2.0", "10.1.61.0")
		var taken []netip.Prefix
		for ; len(raw) >= 5; raw = raw[5:] {
			addr := netip.AddrFrom4([4]byte{10, raw[1], raw[2], raw[3]})
			taken = append(taken, netip.PrefixFrom(addr, 1+int(raw[4])%32))
		}
		model := freeModel(r, taken)
		got, err := Free(r, taken, rand.New(rand.NewPCG(seed, 0)))
		switch {
		case len(model) == 0 && !errors.Is(err, ErrFull):
			t.Errorf("Free(%v) = %s, %v; want ErrFull", taken, got, err)
		case len(model) > 0 && (err != nil || !model[got]):
			t.Errorf("Free(%v) = %s, %v; it is not free", taken, got, err)
		}
	})
}

func TestFreeAgreesWithTheModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	for _, r := range []Range{
		rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.40.0"),
		rangeOf("10.1.0.0/24", 30, "10.1.0.4", "10.1.0.252"),
		rangeOf("255.255.0.0/16", 24, "255.255.250.0", "255.255.255.0"),
		rangeOf("fd00::/56", 64, "fd00:0:0:1::", "fd00:0:0:30::"),
	} {
		for range rounds {
			var taken []netip.Prefix
			for range rnd.IntN(60) {
				b := r.Min.AsSlice()
				i := max(len(b)/2-4, r.SubnetLen/8-1)
				b[i] += byte(rnd.IntN(64)) - 4
				a, _ := netip.AddrFromSlice(b)
				taken = append(taken, netip.PrefixFrom(a, r.SubnetLen-3+rnd.IntN(6)%(a.BitLen()-r.SubnetLen+3)))
			}
			taken = append(taken, netip.Prefix{}, netip.MustParsePrefix("2001:db8::/32"))
			model := freeModel(r, taken)
			seen := map[netip.Prefix]bool{}
			for range 10 * len(model) {
				got, err := Free(r, taken, rnd)
				if err != nil || !model[got] {
					t.Fatalf("Free(%v, %v) = %s, %v; it is not free", r, taken, got, err)
				}
				seen[got] = true
			}
			if len(model) > 0 && len(model) < 8 && len(seen) != len(model) {
				t.Errorf("of %d free subnets only %d were ever chosen", len(model), len(seen))
			}
			if _, err := Free(r, taken, rnd); len(model) == 0 && !errors.Is(err, ErrFull) {
				t.Errorf("Free(%v, %v) = %v, want ErrFull", r, taken, err)
			}
		}
	}
}

func TestFreeIsUniform(t *testing.T) {
	r := rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.20.0")
	taken := []netip.Prefix{netip.MustParsePrefix("10.1.4.0/22"), netip.MustParsePrefix("10.1.12.64/26")}
	count := map[netip.Prefix]int{}
	const draws = 15000
	rnd := rand.New(rand.NewPCG(3, 4))
	for range draws {
		p, err := Free(r, taken, rnd)
		if err != nil {
			t.Fatal(err)
		}
		count[p]++
	}
	// 15 free: 1000 each on average, with a standard deviation of about 31.
	if len(count) != 15 {
		t.Errorf("%d subnets chosen, want 15", len(count))
	}
	for p, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("%s was chosen %d times of %d, want about 1000", p, n, draws)
		}
	}
}

func TestFreeSaysHowFullTheNetworkIs(t *testing.T) {
	r := rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.4.0")
	_, err := Free(r, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, nil)
	if !errors.Is(err, ErrFull) || !strings.Contains(fmt.Sprint(err), "4 of 4 from 10.1.1.0 to 10.1.4.0") {
		t.Errorf("got %v", err)
	}
}

func TestFreeInAPoolBeyond64Bits(t *testing.T) {
	r := rangeOf("fd00::/8", 120, "fd00::100", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ff00")
	for range 100 {
		if p, err := Free(r, nil, nil); err != nil || !r.Contains(p) {
			t.Fatalf("Free = %s, %v", p, err)
		}
	}
}

func BenchmarkFree5000Taken(b *testing.B) {
	r := rangeOf("fd00::/48", 64, "fd00:0:0:1::", "fd00:0:0:ffff::")
	var taken []netip.Prefix
	for i := range 5000 {
		a := r.Min.As16()
		binary.BigEndian.PutUint16(a[6:], uint16(i*13))
		taken = append(taken, netip.PrefixFrom(netip.AddrFrom16(a), 64))
	}
	for b.Loop() {
		if _, err := Free(r, taken, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFreeLastTakesWhatBecameFreeLastAtLast(t *testing.T) {
	r := rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.8.0")
	p := func(n int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(n), 0}), 24) }
	taken := []netip.Prefix{p(1), p(2)}
	freed := []netip.Prefix{p(3), p(4), p(5), p(6), p(2)} // the last is leased again
	got := make(map[netip.Prefix]bool)
	for range 200 {
		f, err := FreeLast(r, taken, freed, nil)
		if err != nil {
			t.Fatal(err)
		}
		got[f] = true
	}
	if len(got) != 2 || !got[p(7)] || !got[p(8)] {
		t.Errorf("chose %v, want %s and %s", got, p(7), p(8))
	}
	taken = append(taken, p(7), p(8))
	clear(got)
	for range 200 {
		f, err := FreeLast(r, taken, freed, nil)
		if err != nil {
			t.Fatal(err)
		}
		got[f] = true
	}
	if len(got) != 2 || !got[p(3)] || !got[p(4)] {
		t.Errorf("chose %v, want the older half: %s and %s", got, p(3), p(4))
	}
	if _, err := FreeLast(r, append(taken, freed...), freed, nil); !errors.Is(err, ErrFull) {
		t.Errorf("FreeLast of a full network: %v", err)
	}
}
