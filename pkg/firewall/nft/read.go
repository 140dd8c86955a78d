package nft

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sizeofNfgenmsg is that of struct nfgenmsg of linux/netfilter/nfnetlink.h.
const sizeofNfgenmsg = 4

// recovered makes an error of a panic of the netlink library, at an answer that is too
// short. Answers may be about what others have made.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("an answer of nftables cannot be read: %v", p)
	}
}

// parseGeneration reads an answer of NFT_MSG_NEWGEN: a nfgenmsg and attributes.
func parseGeneration(b []byte) (generation uint32, ok bool) {
	attributes, _ := netlink.UnmarshalAttributes(b[min(len(b), sizeofNfgenmsg):])
	for _, a := range attributes {
		if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
			return binary.BigEndian.Uint32(a.Data), true
		}
	}
	return 0, false
}

// readTable returns a table that there is.
func readTable(c *nftables.Conn, id ID) (_ parts, err error) {
	defer recovered(&err)
	t, p := id.table(), make(parts)
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != id.Name {
			continue
		}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		texts := make([]string, len(rules))
		for i, r := range rules {
			texts[i] = flatten(id.Family, r)
		}
		p[chainKey(ch)] = texts
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		var elements []string
		if !s.Dynamic {
			if elements, err = elementsOf(c, s); err != nil {
				return nil, err
			}
		}
		p[setKey(s)] = elements
	}
	counters, err := countersOf(c, t)
	if err != nil {
		return nil, err
	}
	for name := range counters {
		p[counterKey(name)] = nil
	}
	return p, nil
}

func elementsOf(c *nftables.Conn, s *nftables.Set) (_ []string, err error) {
	defer recovered(&err)
	raw, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", s.Name, err)
	}
	all := make([]string, len(raw))
	for i, r := range raw {
		all[i] = element(r.Key, r.IntervalEnd)
	}
	slices.Sort(all)
	return all, nil
}

func countersOf(c *nftables.Conn, t *nftables.Table) (_ map[string]uint64, err error) {
	defer recovered(&err)
	objects, err := c.GetObjects(t)
	if err != nil {
		return nil, fmt.Errorf("list counters: %w", err)
	}
	all := make(map[string]uint64)
	for _, o := range objects {
		if counter, ok := o.(*nftables.CounterObj); ok {
			all[counter.Name] = counter.Packets
		}
	}
	return all, nil
}
