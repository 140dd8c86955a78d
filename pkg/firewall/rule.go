// Package firewall has packet filter rules as values: what they match, what they
// do, and which of them an overlay network needs. It decides nothing about how
// they get into the kernel, which is the business of the packages below it.
package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rule is one rule of a chain. A zero field matches everything. Rules compare
// with ==.
type Rule struct {
	Src, Dst Net
	In, Out  Iface
	Mark     Mark
	// Other is what else is matched, as iptables-save(8) writes it. It is set by
	// ParseRule only.
	Other   string
	Comment string
	Target  string // such as ACCEPT, or a chain; empty: the rule only counts
	Options string // of the target, such as "--random-fully"
}

// Net matches addresses within a prefix, or with Not those outside.
type Net struct {
	Prefix netip.Prefix
	Not    bool
}

// Iface matches an interface by name, or with Not all others.
type Iface struct {
	Name string
	Not  bool
}

// Mark matches packets whose mark has the value in the mask's bits.
type Mark struct{ Value, Mask uint32 }

// Targets that every chain knows.
const (
	Accept     = "ACCEPT"
	Drop       = "DROP"
	Reject     = "REJECT"
	Return     = "RETURN"
	Masquerade = "MASQUERADE"
)

// RandomFully is the option of Masquerade that picks ports at random, so that two
// connections made at once do not get the same one.
const RandomFully = "--random-fully"

// In returns the match of what lies within p.
func In(p netip.Prefix) Net { return Net{Prefix: p} }

// Outside returns the match of what lies outside p.
func Outside(p netip.Prefix) Net { return Net{Prefix: p, Not: true} }

// Always reports whether the rule matches every packet.
func (r Rule) Always() bool {
	return r.Src == Net{} && r.Dst == Net{} && r.In == Iface{} && r.Out == Iface{} && r.Mark == Mark{} && r.Other == ""
}

// String returns the rule as arguments of iptables(8), in the order in which
// iptables-save prints them.
func (r Rule) String() string {
	var words []string
	for _, w := range []struct {
		there, not bool
		text       string
	}{
		{r.Src.Prefix.IsValid(), r.Src.Not, "-s " + r.Src.Prefix.String()},
		{r.Dst.Prefix.IsValid(), r.Dst.Not, "-d " + r.Dst.Prefix.String()},
		{r.In.Name != "", r.In.Not, "-i " + quote(r.In.Name)},
		{r.Out.Name != "", r.Out.Not, "-o " + quote(r.Out.Name)},
		{r.Other != "", false, r.Other},
		{r.Mark.Mask != 0, false, fmt.Sprintf("-m mark --mark %#x/%#x", r.Mark.Value, r.Mark.Mask)},
		{r.Comment != "", false, "-m comment --comment " + quote(r.Comment)},
		{r.Target != "", false, "-j " + quote(r.Target)},
		{r.Options != "", false, r.Options},
	} {
		if w.there && w.not {
			words = append(words, "!")
		}
		if w.there {
			words = append(words, w.text)
		}
	}
	return strings.Join(words, " ")
}

// quote returns a word as iptables-restore reads it.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\"'\\!#;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) + `"`
}
