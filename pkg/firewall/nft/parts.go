package nft

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// parts is a table in the form in which one of ours and one of the kernel's can be
// compared: its chains, sets and counters, each by what never changes of it, with the
// rules or elements. It is nil if there is no table.
type parts map[string][]string

func (t Table) parts() parts {
	if len(t.Chains)+len(t.Sets)+len(t.Counters) == 0 {
		return nil
	}
	p := make(parts)
	for _, c := range t.Chains {
		var rules []string
		for _, r := range c.Rules {
			rules = append(rules, flatten(t.Family, r.rule(t.Family)))
		}
		p[chainKey(c.chain(nil))] = rules
	}
	for _, s := range t.Sets {
		p[setKey(s.set(nil))] = s.elements()
	}
	for _, c := range t.Counters {
		p[counterKey(c)] = nil
	}
	return p
}

func (p parts) equal(o parts) bool {
	return (p == nil) == (o == nil) && maps.EqualFunc(p, o, slices.Equal)
}

func chainKey(c *nftables.Chain) string {
	if c.Hooknum == nil || c.Priority == nil || c.Policy == nil {
		return "chain " + c.Name
	}
	return fmt.Sprint("chain ", c.Name, " ", c.Type, *c.Hooknum, " ", *c.Priority, " ", *c.Policy)
}

func setKey(s *nftables.Set) string {
	return fmt.Sprint("set ", s.Name, " ", s.KeyType.Name, s.Interval, s.Dynamic, s.HasTimeout, s.Timeout, s.Size)
}

func counterKey(name string) string { return "counter " + name }

// flatten returns a rule as the bytes that it is on the wire. One that cannot be
// encoded is like none of ours.
func flatten(f Family, r *nftables.Rule) string {
	var all []byte
	for _, e := range r.Exprs {
		b, err := expr.Marshal(byte(f), e)
		if err != nil {
			return err.Error()
		}
		all = append(all, b...)
	}
	return string(all) + "\x00" + string(r.UserData)
}

// element returns what the kernel has in a set: a key, or with end the bound that a
// range ends before. In their order keys are as the kernel compares them.
func element(key []byte, end bool) string {
	flag := byte(0)
	if end {
		flag = 1
	}
	return string(append(append(make([]byte, 0, 17), key...), flag)) // the longest key is one of IPv6
}

// parseElement is the reverse of element.
func parseElement(e string) (key []byte, end bool) {
	n := len(e) - 1
	return []byte(e[:n]), e[n] == 1
}

// elements returns what the kernel is to have for the set, sorted.
func (s Set) elements() []string {
	if s.Ranges {
		return ranges(s.Elements)
	}
	all := make([]string, len(s.Elements))
	for i, p := range s.Elements {
		all[i] = element(p.Addr().AsSlice(), false)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// with returns the parts with the elements that sets keep.
func (p parts) with(have parts, sets []Set) parts {
	all := maps.Clone(p)
	for _, s := range sets {
		if k := setKey(s.set(nil)); s.Keeps {
			both := slices.Concat(p[k], have[k])
			slices.Sort(both)
			if s.Ranges {
				both = join(both)
			}
			all[k] = slices.Compact(both)
		}
	}
	return all
}

// join returns the bounds of ranges that may overlap. A range begins before another one
// ends at the same address.
func join(bounds []string) (all []string) {
	depth := 0 // the number of ranges that have begun and not ended
	for _, b := range bounds {
		_, end := parseElement(b)
		if end {
			depth--
		}
		if depth == 0 {
			all = append(all, b)
		}
		if !end {
			depth++
		}
	}
	return all
}

// ranges returns the bounds of networks; those that join are one range.
func ranges(networks []netip.Prefix) (all []string) {
	for _, p := range networks {
		all = append(all, element(p.Masked().Addr().AsSlice(), false))
		if end := last(p).Next(); end.IsValid() { // there is none after the highest address
			all = append(all, element(end.AsSlice(), true))
		}
	}
	slices.Sort(all)
	return join(all)
}

// last returns a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i, m := range net.CIDRMask(p.Bits(), p.Addr().BitLen()) {
		b[i] |= ^m
	}
	a, _ := netip.AddrFromSlice(b) // of the length that it had
	return a
}
