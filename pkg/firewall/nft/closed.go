package nft

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Closed returns the chains, as "inet firewalld filter_FORWARD", that packets come to in a hook
// and that drop what no rule accepts, though no rule or set of the table names one of the
// interfaces. An accept elsewhere does not undo that. Tables of iptables, which can read
// them better, are left out.
func Closed(k *Kernel, hook Hook, links []string) (closed []string, err error) {
	defer recovered(&err)
	c := k.conn()
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Hooknum == nil || Hook(*ch.Hooknum) != hook || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop ||
			ch.Table.Name == "filter" || Family(ch.Table.Family) == IPv6 {
			continue
		}
		named, err := names(c, ch.Table, links)
		if err != nil {
			return nil, err
		}
		if !named {
			closed = append(closed, fmt.Sprintf("%s %s", ID{Family(ch.Table.Family), ch.Table.Name}, ch.Name))
		}
	}
	return closed, nil
}

// names reports whether a rule or a set of a table has the name of one of the links.
func names(c *nftables.Conn, t *nftables.Table, links []string) (bool, error) {
	has := func(data []byte) bool {
		for _, l := range links {
			if text := append([]byte(l), 0); bytes.HasPrefix(append(bytes.Clone(data), 0), text) {
				return true
			}
		}
		return false
	}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return false, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != t.Name {
			continue
		}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return false, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if cmp, ok := e.(*expr.Cmp); ok && cmp.Op == expr.CmpOpEq && has(cmp.Data) {
					return true, nil
				}
			}
		}
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return false, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		elements, err := elementsOf(c, s)
		if err != nil {
			return false, err
		}
		for _, e := range elements {
			if key, _ := parseElement(e); has(key) {
				return true, nil
			}
		}
	}
	return false, nil
}
