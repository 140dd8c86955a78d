package config

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// ErrFull: every subnet between SubnetMin and SubnetMax is leased.
var ErrFull = errors.New("out of subnets")

// Subnets returns how many subnets there are for hosts, at most 2^62.
func (r Range) Subnets() int64 { return r.slot(r.Max) + 1 }

// Free returns a subnet of r that overlaps none of those taken, which may be of
// any length, each with the same chance: hosts that start together then rarely
// want the same one. It returns ErrFull if there is none. It counts free
// subnets without listing them, so a pool of any size costs what sorting those
// taken costs; of a pool beyond 2^62 subnets only these are chosen from. A nil rnd
// is the shared source.
func Free(r Range, taken []netip.Prefix, rnd *rand.Rand) (netip.Prefix, error) {
	type row struct{ first, last int64 }
	var used []row
	for _, p := range taken {
		if p.IsValid() && p.Addr().BitLen() == r.Min.BitLen() {
			used = append(used, row{r.slot(p.Masked().Addr()), r.slot(lastSubnet(p.Masked(), max(p.Bits(), r.SubnetLen)))})
		}
	}
	slices.SortFunc(used, func(a, b row) int { return cmp.Compare(a.first, b.first) })
	total := r.slot(r.Max) + 1
	var free, next, chosen int64
	// Each gap takes the choice over with the share that it has in what is free so far.
	gap := func(end int64) {
		size := min(end, total) - next
		if size <= 0 {
			return
		}
		free += size
		if n := below(free, rnd); n < size {
			chosen = next + n
		}
	}
	for _, u := range used {
		gap(u.first)
		next = max(next, u.last+1)
	}
	gap(total)
	if free == 0 {
		return netip.Prefix{}, fmt.Errorf("%w: %d of %d from %s to %s are taken", ErrFull, total, total, r.Min, r.Max)
	}
	return r.at(chosen), nil
}

// FreeLast is Free, but what overlaps those that were freed lately (oldest first)
// is chosen only if there is nothing else: one of the older half of them.
func FreeLast(r Range, taken, freed []netip.Prefix, rnd *rand.Rand) (netip.Prefix, error) {
	p, err := Free(r, append(slices.Clip(taken), freed...), rnd)
	if !errors.Is(err, ErrFull) {
		return p, err
	}
	left := slices.DeleteFunc(slices.Clone(freed), func(f netip.Prefix) bool {
		return !r.Contains(f) || slices.ContainsFunc(taken, f.Overlaps)
	})
	if len(left) == 0 {
		return Free(r, taken, rnd)
	}
	return left[below(int64(len(left)+1)/2, rnd)], nil
}

// below returns a random number from 0 to n-1.
func below(n int64, rnd *rand.Rand) int64 {
	if rnd == nil {
		return rand.Int64N(n)
	}
	return rnd.Int64N(n)
}

// slot numbers subnets from Min: at most 2^62, and -1 if a lies before Min.
func (r Range) slot(a netip.Addr) int64 {
	const most = 1 << 62
	s := new(big.Int).SetBytes(a.AsSlice())
	s.Sub(s, new(big.Int).SetBytes(r.Min.AsSlice()))
	s.Rsh(s, uint(a.BitLen()-r.SubnetLen))
	switch {
	case s.Sign() < 0:
		return -1
	case !s.IsInt64():
		return most
	}
	return min(s.Int64(), most)
}

// at is the inverse of slot.
func (r Range) at(slot int64) netip.Prefix {
	n := new(big.Int).Lsh(big.NewInt(slot), uint(r.Min.BitLen()-r.SubnetLen))
	n.Add(n, new(big.Int).SetBytes(r.Min.AsSlice()))
	a, _ := netip.AddrFromSlice(n.FillBytes(make([]byte, r.Min.BitLen()/8)))
	return netip.PrefixFrom(a, r.SubnetLen)
}
