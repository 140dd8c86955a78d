package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"flanneld/pkg/firewall"
)

// Edit is one line for iptables-restore(8).
type Edit struct{ Table, Line string }

// String returns the line and its table, as one would tell iptables(8).
func (e Edit) String() string { return "-t " + e.Table + " " + e.Line }

// Diff returns what makes the wanted rules of those that are there, and removes what
// else is the caller's, table by table. Tables that are unreadable stay as they are, and
// one in which nothing differs is left out.
func Diff(want Want, have Ruleset, o Owner) (edits [][]Edit) {
	tables := slices.AppendSeq(want.tables(), maps.Keys(have))
	slices.Sort(tables)
	for _, name := range slices.Compact(tables) {
		if have.Unreadable(name) != nil {
			continue
		}
		d := differ{name: name, have: have[name], filter: have["filter"], owner: o, final: make(map[string]bool), wanted: make(map[string][]firewall.Rule)}
		if d.diff(want); len(d.edits) > 0 {
			edits = append(edits, d.edits)
		}
	}
	return edits
}

// differ compares one table.
type differ struct {
	name   string
	have   Table
	filter Table // the table of that name
	owner  Owner
	final  map[string]bool            // chains that no packet comes back from; filled as they are asked for
	wanted map[string][]firewall.Rule // chains
	edits  []Edit
}

func (d *differ) edit(format string, args ...any) {
	d.edits = append(d.edits, Edit{d.name, fmt.Sprintf(format, args...)})
}

func (d *differ) diff(want Want) {
	for _, c := range want.Chains {
		if c.Table == d.name {
			d.wanted[c.Name] = c.Rules
		}
	}
	// Chains before what jumps to them.
	for _, name := range slices.Sorted(maps.Keys(d.wanted)) {
		entries, have := d.have[name]
		if have && slices.EqualFunc(entries, d.wanted[name], func(e Entry, r firewall.Rule) bool { return e.Rule == r }) {
			continue
		}
		d.edit(":%s - [0:0]", name) // makes it, or empties it
		for _, r := range d.wanted[name] {
			d.edit("-A %s %s", name, r)
		}
	}
	inserts := make(map[string][]Insert)
	for _, i := range want.Inserts {
		if _, with := d.filter[i.With]; i.With != "" && !with {
			continue
		}
		if _, have := d.have[i.Chain]; i.Table == d.name && (have || builtin(i.Chain)) {
			inserts[i.Chain] = append(inserts[i.Chain], i)
		}
	}
	var stale []string
	chains := slices.AppendSeq(slices.Collect(maps.Keys(d.have)), maps.Keys(inserts))
	slices.Sort(chains)
	for _, name := range slices.Compact(chains) {
		_, keep := d.wanted[name]
		switch {
		case keep:
		case d.owner.chain(d.have, name):
			stale = append(stale, name)
		default:
			d.others(name, inserts[name])
		}
	}
	for _, option := range []string{"-F", "-X"} {
		for _, name := range stale {
			d.edit("%s %s", option, name)
		}
	}
}

// others puts the inserts into a chain of others, and removes what else is the
// caller's.
func (d *differ) others(chain string, inserts []Insert) {
	var left []Entry
	all := d.have[chain]
	for i, e := range all {
		wanted := slices.ContainsFunc(inserts, func(in Insert) bool { return in.Rule == e.Rule })
		// -D takes the first of several.
		again := wanted && slices.ContainsFunc(all[i+1:], func(later Entry) bool { return later.Rule == e.Rule })
		if !wanted && (d.owner.inGroup(d.name, chain, all, e.Rule) || d.owner.rule(d.have, e, d.wanted)) || again {
			d.edit("-D %s %s", chain, e.arguments())
			continue
		}
		left = append(left, e)
	}
	for _, in := range inserts {
		at := slices.IndexFunc(left, func(e Entry) bool { return e.Rule == in.Rule })
		end := slices.IndexFunc(left, func(e Entry) bool { return d.blocks(e.Rule, in) })
		if at >= 0 && (end < 0 || at <= end) {
			continue
		}
		if at >= 0 {
			d.edit("-D %s %s", chain, left[at].arguments())
			left = slices.Delete(left, at, at+1)
		}
		e := Entry{in.Rule, in.Rule.String()}
		if end < 0 {
			d.edit("-A %s %s", chain, e.Text)
			end = len(left)
		} else {
			d.edit("-I %s %d %s", chain, end+1, e.Text)
		}
		left = slices.Insert(left, end, e)
	}
}

// blocks reports whether the insert must stand ahead of the rule.
func (d *differ) blocks(r firewall.Rule, in Insert) bool {
	return d.closes(r) || in.Ahead && r.Target == firewall.Drop && r.In.Not && !r.Dst.Not && r.Dst.Prefix.IsValid() &&
		within(in.Rule.Dst.Prefix, r.Dst.Prefix)
}

// closes reports whether every packet's way through a chain ends with the rule.
func (d *differ) closes(r firewall.Rule) bool {
	return r.Always() && (r.Target == firewall.Return || d.ends(r.Target))
}

// ends reports whether no packet comes back from the target.
func (d *differ) ends(target string) bool {
	switch target {
	case firewall.Accept, firewall.Drop, firewall.Reject:
		return true
	}
	if final, known := d.final[target]; known {
		return final
	}
	d.final[target] = false // the kernel has no loops, but a file may
	rules := d.have[target]
	last := slices.IndexFunc(rules, func(e Entry) bool { return d.closes(e.Rule) })
	d.final[target] = last >= 0 && rules[last].Rule.Target != firewall.Return
	return d.final[target]
}

// script returns edits, all of one table, as iptables-restore reads them.
func script(edits []Edit) string {
	var b strings.Builder
	b.WriteString("*" + edits[0].Table + "\n")
	for _, e := range edits {
		b.WriteString(e.Line + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
