package nft

import (
	"net/netip"
	"slices"
)

// element is one that the kernel has in a set: an address, or a bound of a range.
type element struct {
	addr netip.Addr
	end  bool // the range ends before it
}

// elements returns what the kernel is to have for the set, sorted.
func (s Set) elements() []element {
	prefixes := slices.Clone(s.Elements)
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	all := make([]element, 0, 2*len(prefixes))
	for _, p := range prefixes {
		start := p.Masked().Addr()
		if !s.Ranges {
			if n := len(all); n == 0 || all[n-1].addr != start {
				all = append(all, element{addr: start})
			}
			continue
		}
		next := last(p).Next() // invalid after the highest address
		switch n := len(all); {
		case n > 0 && !all[n-1].end: // the one before has no end
		case n > 0 && start.Compare(all[n-1].addr) <= 0: // joins the one before
			if !next.IsValid() {
				all = all[:n-1]
			} else if next.Compare(all[n-1].addr) > 0 {
				all[n-1].addr = next
			}
		default:
			all = append(all, element{addr: start})
			if next.IsValid() {
				all = append(all, element{next, true})
			}
		}
	}
	return all
}

// last returns a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // of the length that it had
	return a
}
