package nft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// encoded is a table in the form in which one of ours and one of the kernel's can
// be compared.
type encoded struct {
	chains   map[string]chainBody
	sets     map[string]setBody
	counters map[string]bool
}

type chainBody struct {
	kind  string // type, hook and priority
	rules []string
}

type setBody struct {
	kind     string // of the elements
	elements []element
}

func (t Table) encode() (encoded, error) {
	e := encoded{chains: make(map[string]chainBody), sets: make(map[string]setBody), counters: make(map[string]bool)}
	for _, c := range t.Chains {
		body := chainBody{kind: describe(c.chain(nil))}
		for _, r := range c.Rules {
			exprs, err := r.expressions(t.Family)
			if err != nil {
				return e, err
			}
			text, err := flatten(t.Family, exprs, r.userData())
			if err != nil {
				return e, err
			}
			body.rules = append(body.rules, text)
		}
		e.chains[c.Name] = body
	}
	for _, s := range t.Sets {
		e.sets[s.Name] = setBody{kindOf(s.set(nil)), s.elements()}
	}
	for _, c := range t.Counters {
		e.counters[c] = true
	}
	return e, nil
}

// sameShape reports whether both have the same chains, sets and counters, whatever
// is in them.
func (e encoded) sameShape(o encoded) bool {
	return maps.EqualFunc(e.chains, o.chains, func(a, b chainBody) bool { return a.kind == b.kind }) &&
		maps.EqualFunc(e.sets, o.sets, func(a, b setBody) bool { return a.kind == b.kind }) &&
		maps.Equal(e.counters, o.counters)
}

func (e encoded) equal(o encoded) bool {
	return e.sameShape(o) &&
		maps.EqualFunc(e.chains, o.chains, func(a, b chainBody) bool { return slices.Equal(a.rules, b.rules) }) &&
		maps.EqualFunc(e.sets, o.sets, func(a, b setBody) bool { return slices.Equal(a.elements, b.elements) })
}

func (c Chain) chain(t *nftables.Table) *nftables.Chain {
	hook, priority, policy := nftables.ChainHook(c.Hook), nftables.ChainPriority(c.Priority), nftables.ChainPolicyAccept
	kind := nftables.ChainTypeFilter
	if c.NAT {
		kind = nftables.ChainTypeNAT
	}
	return &nftables.Chain{Name: c.Name, Table: t, Type: kind, Hooknum: &hook, Priority: &priority, Policy: &policy}
}

func describe(c *nftables.Chain) string {
	if c.Hooknum == nil || c.Priority == nil || c.Policy == nil {
		return "no base chain"
	}
	return fmt.Sprint(c.Type, *c.Hooknum, " ", *c.Priority, " ", *c.Policy)
}

func kindOf(s *nftables.Set) string {
	return fmt.Sprint(s.KeyType.Name, s.Interval, s.Dynamic, s.HasTimeout, s.Timeout, s.Size)
}

// flatten returns a rule's expressions as the bytes that they are on the wire.
func flatten(f Family, exprs []expr.Any, comment []byte) (string, error) {
	var all []byte
	for _, e := range exprs {
		b, err := expr.Marshal(byte(f), e)
		if err != nil {
			return "", fmt.Errorf("encode a rule: %w", err)
		}
		all = append(all, b...)
	}
	return string(all) + "\x00" + string(comment), nil
}
