package iptables

import (
	"net/netip"
	"slices"

	"flanneld/pkg/firewall"
)

// Want is what there is to be.
type Want struct {
	Chains  []Chain  // ours, with exactly these rules
	Inserts []Insert // in chains of others
	// Optional are tables that a kernel may be without, and others then are, too.
	Optional []string
}

// tables are those that something is wanted in, sorted.
func (w Want) tables() []string {
	var all []string
	for _, c := range w.Chains {
		all = append(all, c.Table)
	}
	for _, i := range w.Inserts {
		all = append(all, i.Table)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Chain is rules of a chain.
type Chain struct {
	Table, Name string
	Rules       []firewall.Rule
}

// Insert is a rule in a chain that belongs to others. It must not stand behind a rule
// that ends every packet's way through the chain. Where there is none it is appended, so
// that what others want first stays first.
type Insert struct {
	Table, Chain string
	Rule         firewall.Rule
	// Ahead of rules that drop what comes to addresses within the rule's Dst by any
	// interface but one, too.
	Ahead bool
	// With is a chain of the table filter without which the rule is not wanted;
	// empty: it always is.
	With string
}

// Owner says what the caller may remove.
type Owner struct {
	// Chain reports whether a chain is the caller's by its name, in any table. So are
	// rules that jump to it if they have one of the comments or the chain is to go.
	Chain func(name string) bool
	// Former are chains that are the caller's if they have rules, and these are
	// about nothing but Networks.
	Former []string
	// Comment reports whether a comment is the caller's alone: so is every rule that has it.
	Comment func(string) bool
	// Shared are comments of rules that are the caller's if they are about
	// nothing but Networks.
	Shared []string
	// Networks are those of the caller, in use now or once.
	Networks []netip.Prefix
	// Groups are rules in a chain of others that are the caller's if all of a group are
	// there, since it is unlikely that somebody else wrote them all.
	Groups []Chain
}

// chain reports whether a chain of the table is the caller's.
func (o Owner) chain(t Table, name string) bool {
	return o.Chain(name) || slices.Contains(o.Former, name) && o.about(t[name]...)
}

// about reports whether rules name some of the networks, and no other.
func (o Owner) about(rules ...Entry) bool {
	named := false
	for _, e := range rules {
		if r := e.Rule; r.Other != "" || r.In != (firewall.Iface{}) || r.Out != (firewall.Iface{}) {
			return false
		}
		for _, n := range []firewall.Net{e.Rule.Src, e.Rule.Dst} {
			switch {
			case !n.Prefix.IsValid() || n.Prefix.Addr().IsMulticast():
			case slices.ContainsFunc(o.Networks, func(p netip.Prefix) bool { return within(p, n.Prefix) }):
				named = true
			default:
				return false
			}
		}
	}
	return named
}

func within(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// rule reports whether a rule in a chain of others is the caller's. Kept are the
// chains that are wanted.
func (o Owner) rule(t Table, e Entry, kept map[string][]firewall.Rule) bool {
	shared := e.Rule.Comment != "" && slices.Contains(o.Shared, e.Rule.Comment)
	switch target := e.Rule.Target; {
	case e.Rule.Comment != "" && o.Comment(e.Rule.Comment):
		return true
	case target != "" && o.chain(t, target):
		_, keep := kept[target]
		return shared || !keep
	}
	return shared && o.about(e)
}

// inGroup reports whether a rule, one of the entries of a chain, belongs to a group that
// is there whole.
func (o Owner) inGroup(table, chain string, entries []Entry, r firewall.Rule) bool {
	absent := func(r firewall.Rule) bool {
		return !slices.ContainsFunc(entries, func(e Entry) bool { return e.Rule == r })
	}
	return slices.ContainsFunc(o.Groups, func(g Chain) bool {
		return g.Table == table && g.Name == chain && slices.Contains(g.Rules, r) && !slices.ContainsFunc(g.Rules, absent)
	})
}
