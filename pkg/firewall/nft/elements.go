package nft

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
)

// element is one that the kernel has in a set: a key, or a bound of a range.
type element struct {
	key string // bytes as the kernel compares them
	end bool   // the range ends before it
}

func keyOf(a netip.Addr) string { return string(a.AsSlice()) }

func (s Set) set(t *nftables.Table) *nftables.Set {
	n := &nftables.Set{Table: t, Name: s.Name, KeyType: nftables.TypeIPAddr, Interval: s.Ranges}
	if s.V6 {
		n.KeyType = nftables.TypeIP6Addr
	}
	if s.Remembers != 0 {
		n.Dynamic, n.HasTimeout, n.Size = true, true, s.Remembers
		n.Timeout = time.Duration(s.Seconds) * time.Second
	}
	return n
}

// elements returns what the kernel is to have for the set, sorted.
func (s Set) elements() []element {
	if s.Ranges {
		return ranges(s.Elements)
	}
	all := make([]element, 0, len(s.Elements))
	for _, p := range s.Elements {
		all = append(all, element{key: keyOf(p.Masked().Addr())})
	}
	slices.SortFunc(all, func(a, b element) int { return strings.Compare(a.key, b.key) })
	return slices.Compact(all)
}

// ranges returns the bounds of networks; those that join are one range.
func ranges(networks []netip.Prefix) []element {
	prefixes := slices.Clone(networks)
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	all := make([]element, 0, 2*len(prefixes))
	for _, p := range prefixes {
		start := p.Masked().Addr()
		next := last(p).Next() // invalid after the highest address
		switch n := len(all); {
		case n > 0 && !all[n-1].end: // the one before has no end
		case n > 0 && keyOf(start) <= all[n-1].key: // joins the one before
			if !next.IsValid() {
				all = all[:n-1]
			} else if keyOf(next) > all[n-1].key {
				all[n-1].key = keyOf(next)
			}
		default:
			all = append(all, element{key: keyOf(start)})
			if next.IsValid() {
				all = append(all, element{keyOf(next), true})
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
