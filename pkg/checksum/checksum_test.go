package checksum

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// naive is RFC 1071 word by word, not complemented.
func naive(b []byte) uint16 {
	sum := uint32(0)
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// inputs are what carries differently: nothing, everything, and anything.
func inputs(n int) map[string][]byte {
	return map[string][]byte{
		"zeros":  make([]byte, n),
		"ones":   bytes.Repeat([]byte{0xff}, n),
		"random": random(n),
	}
}

func TestAddIsTheSumOfAllWordsAtEveryLengthAndAlignment(t *testing.T) {
	for name, all := range inputs(2000 + 8) {
		for n := range 2001 {
			for _, align := range []int{0, 1, 2, 3, 7} {
				b := all[align : align+n]
				want := naive(b)
				if got := Sum(0).Add(b).Fold(); got != want {
					t.Fatalf("%s, %d bytes at %d: Add folds to %#04x, want %#04x", name, n, align, got, want)
				}
				if got := Sum(addPortable(0, b)).Fold(); got != want {
					t.Fatalf("%s, %d bytes at %d: addPortable folds to %#04x, want %#04x", name, n, align, got, want)
				}
			}
		}
	}
}

func TestAddOfLargeDataKeepsEveryCarry(t *testing.T) {
	for _, n := range []int{1 << 16, 1<<20 + 1} {
		for name, b := range inputs(n) {
			want := naive(b)
			if got := Sum(0).Add(b).Fold(); got != want {
				t.Errorf("%s, %d bytes: got %#04x, want %#04x", name, n, got, want)
			}
			if got := Sum(^uint64(0)).Add(b).Fold(); got != want && want != 0 {
				t.Errorf("%s, %d bytes onto all ones: got %#04x, want %#04x", name, n, got, want)
			}
			if got := Sum(addPortable(^uint64(0), b)).Fold(); got != want && want != 0 {
				t.Errorf("%s, %d bytes onto all ones, portable: got %#04x, want %#04x", name, n, got, want)
			}
		}
	}
}

func TestPiecesAddUpWhereverTheyAreCut(t *testing.T) {
	for name, b := range inputs(301) {
		want := naive(b)
		for cut := 0; cut <= len(b); cut += 2 {
			if got := Sum(0).Add(b[:cut]).Add(b[cut:]).Fold(); got != want {
				t.Fatalf("%s cut at %d: got %#04x, want %#04x", name, cut, got, want)
			}
		}
	}
}

func TestNumbersCountAsTheirBytesInNetworkOrder(t *testing.T) {
	b := []byte{0x12, 0x34, 0xff, 0xfe, 0x80, 0x01}
	got := Sum(0).AddUint16(0x1234).AddUint32(0xfffe8001).Fold()
	if want := naive(b); got != want {
		t.Errorf("got %#04x, want %#04x", got, want)
	}
}

// The example of RFC 1071 section 3.
func TestFoldOfTheExampleOfRFC1071(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Sum(0).Add(b).Fold(); got != 0xddf2 {
		t.Errorf("got %#04x, want 0xddf2", got)
	}
}

func TestPseudoHeader4(t *testing.T) {
	src, dst := [4]byte{10, 1, 2, 3}, [4]byte{192, 168, 255, 254}
	got := PseudoHeader4(src, dst, 17, 0x0203).Fold()
	if want := naive([]byte{10, 1, 2, 3, 192, 168, 255, 254, 0, 17, 2, 3}); got != want {
		t.Errorf("got %#04x, want %#04x", got, want)
	}
}

// A header whose checksum is valid stays valid, for every value that the changed
// word and the checksum can have.
func TestUpdateKeepsAValidChecksumValid(t *testing.T) {
	b := random(20)
	for old := range 1 << 16 {
		for _, new := range []uint16{uint16(old) - 0x100, ^uint16(old), 0, 0xffff} {
			binary.BigEndian.PutUint16(b[8:], uint16(old))
			binary.BigEndian.PutUint16(b[10:], 0)
			check := ^naive(b)
			binary.BigEndian.PutUint16(b[8:], new)
			binary.BigEndian.PutUint16(b[10:], Update(check, uint16(old), new))
			if naive(b) != 0xffff {
				t.Fatalf("Update(%#04x, %#04x, %#04x) = % x: no longer valid", check, old, new, b[10:12])
			}
		}
	}
}

// The example of RFC 1624 section 4, which the older equation gets wrong.
func TestUpdateOfTheExampleOfRFC1624(t *testing.T) {
	if got := Update(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("got %#04x, want 0x0000", got)
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(1), uint8(0))
	f.Add(bytes.Repeat([]byte{0xff}, 300), uint16(131), uint8(1))
	f.Add(make([]byte, 64), uint16(7), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16, align uint8) {
		b = b[min(int(align), len(b)):]
		want := naive(b)
		if got := Sum(0).Add(b).Fold(); got != want {
			t.Errorf("Add of % x folds to %#04x, want %#04x", b, got, want)
		}
		if got := Sum(addPortable(0, b)).Fold(); got != want {
			t.Errorf("addPortable of % x folds to %#04x, want %#04x", b, got, want)
		}
		at := min(int(cut), len(b)) &^ 1
		if got := Sum(0).Add(b[:at]).Add(b[at:]).Fold(); got != want {
			t.Errorf("% x cut at %d folds to %#04x, want %#04x", b, at, got, want)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{20, 64, 128, 256, 512, 1448, 65535} {
		data := random(n)
		for name, add := range map[string]func(uint64, []byte) uint64{"best": add, "portable": addPortable} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				sum := uint64(0)
				for b.Loop() {
					sum = add(sum, data)
				}
			})
		}
	}
}
