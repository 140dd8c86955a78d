package config

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// ErrFull: every subnet between SubnetMin and SubnetMax is leased.
var ErrFull = errors.New("out of subnets")

// Free returns a subnet of r that overlaps none of those taken, which may be of
// any length, each with the same chance: hosts that start together then rarely
// want the same one. It returns ErrFull if there is none. It counts free
// subnets without listing them, so a pool of any size costs what sorting those
// taken costs. A nil rnd is the shared source.
func Free(r Range, taken []netip.Prefix, rnd *rand.Rand) (netip.Prefix, error) {
	total := new(big.Int).Add(r.slot(r.Max), big.NewInt(1))
	gaps, free := r.gaps(taken, total)
	if free.Sign() == 0 {
		return netip.Prefix{}, fmt.Errorf("%w: %s of %s from %s to %s are taken", ErrFull, total, total, r.Min, r.Max)
	}
	nth := randBelow(free, rnd)
	for _, g := range gaps {
		size := new(big.Int).Sub(g.end, g.start)
		if nth.Cmp(size) < 0 {
			return r.at(nth.Add(nth, g.start)), nil
		}
		nth.Sub(nth, size)
	}
	panic("subnet: the gaps hold fewer subnets than were counted")
}

// FreeLast is Free, but what overlaps those that were freed lately (oldest first)
// is chosen only if there is nothing else: one of the older half of them.
func FreeLast(r Range, taken, freed []netip.Prefix, rnd *rand.Rand) (netip.Prefix, error) {
	p, err := Free(r, append(slices.Clip(taken), freed...), rnd)
	if !errors.Is(err, ErrFull) {
		return p, err
	}
	var left []netip.Prefix
	for _, f := range freed {
		if r.Contains(f) && !slices.ContainsFunc(taken, func(t netip.Prefix) bool { return t.IsValid() && f.Overlaps(t) }) {
			left = append(left, f)
		}
	}
	if len(left) == 0 {
		return Free(r, taken, rnd)
	}
	older := big.NewInt(int64((len(left) + 1) / 2))
	return left[randBelow(older, rnd).Int64()], nil
}

// gap is a row of free slots, end not included.
type gap struct{ start, end *big.Int }

// gaps returns the free rows and how many slots they have together.
func (r Range) gaps(taken []netip.Prefix, total *big.Int) ([]gap, *big.Int) {
	type row struct{ first, last *big.Int }
	var used []row
	for _, p := range taken {
		if !p.IsValid() || p.Addr().BitLen() != r.Min.BitLen() {
			continue
		}
		used = append(used, row{r.slot(p.Masked().Addr()), r.slot(lastSubnet(p.Masked(), max(p.Bits(), r.SubnetLen)))})
	}
	slices.SortFunc(used, func(a, b row) int { return a.first.Cmp(b.first) })
	var gaps []gap
	free, next := new(big.Int), new(big.Int)
	add := func(end *big.Int) {
		if next.Cmp(end) < 0 {
			gaps = append(gaps, gap{new(big.Int).Set(next), new(big.Int).Set(end)})
			free.Add(free, new(big.Int).Sub(end, next))
		}
	}
	for _, u := range used {
		if u.last.Cmp(next) < 0 {
			continue
		}
		if u.first.Cmp(total) >= 0 {
			break
		}
		add(u.first)
		next.Add(u.last, big.NewInt(1))
	}
	add(total)
	return gaps, free
}

// slot numbers subnets from Min; it is negative before that.
func (r Range) slot(a netip.Addr) *big.Int {
	s := new(big.Int).SetBytes(a.AsSlice())
	s.Sub(s, new(big.Int).SetBytes(r.Min.AsSlice()))
	return s.Rsh(s, uint(a.BitLen()-r.SubnetLen))
}

// at is the inverse of slot.
func (r Range) at(slot *big.Int) netip.Prefix {
	n := new(big.Int).Lsh(slot, uint(r.Min.BitLen()-r.SubnetLen))
	n.Add(n, new(big.Int).SetBytes(r.Min.AsSlice()))
	a, _ := netip.AddrFromSlice(n.FillBytes(make([]byte, r.Min.BitLen()/8)))
	return netip.PrefixFrom(a, r.SubnetLen)
}

// randBelow returns a random number below n, which is at most 2^127. Beyond 63
// bits it takes 64 bits more than needed, so no value is favoured by more than
// one part in 2^64.
func randBelow(n *big.Int, rnd *rand.Rand) *big.Int {
	below, word := rand.Int64N, rand.Uint64
	if rnd != nil {
		below, word = rnd.Int64N, rnd.Uint64
	}
	if n.IsInt64() {
		return big.NewInt(below(n.Int64()))
	}
	wide := new(big.Int)
	for range 3 {
		wide.Lsh(wide, 64).Or(wide, new(big.Int).SetUint64(word()))
	}
	return wide.Mod(wide, n)
}
