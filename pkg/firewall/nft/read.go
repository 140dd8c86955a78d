package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

var errUnreadable = errors.New("an answer of nftables cannot be read")

// sizeofNfgenmsg is that of struct nfgenmsg of linux/netfilter/nfnetlink.h.
const sizeofNfgenmsg = 4

// recovered makes an error of a panic of the netlink library, at an answer that is too
// short. Answers may be about what others have made.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errUnreadable, p)
	}
}

// parseGeneration reads an answer of NFT_MSG_NEWGEN: a nfgenmsg and attributes.
func parseGeneration(b []byte) (generation uint32, ok bool) {
	if len(b) < sizeofNfgenmsg {
		return 0, false
	}
	d, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return 0, false
	}
	for d.Next() {
		if v := d.Bytes(); d.Type() == unix.NFTA_GEN_ID && len(v) == 4 {
			return binary.BigEndian.Uint32(v), true
		}
	}
	return 0, false
}

// readTable returns a table that there is.
func readTable(c *nftables.Conn, id ID) (_ *encoded, err error) {
	defer recovered(&err)
	t := id.table()
	e := &encoded{chains: make(map[string]chainBody), sets: make(map[string]setBody), counters: make(map[string]bool)}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != id.Name {
			continue
		}
		body := chainBody{kind: describe(ch)}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		for _, r := range rules {
			text, err := flatten(id.Family, r.Exprs, r.UserData)
			if err != nil {
				return nil, err
			}
			body.rules = append(body.rules, text)
		}
		e.chains[ch.Name] = body
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		body := setBody{kind: kindOf(s)}
		if !s.Dynamic {
			if body.elements, err = elementsOf(c, s); err != nil {
				return nil, err
			}
		}
		e.sets[s.Name] = body
	}
	counters, err := countersOf(c, t)
	if err != nil {
		return nil, err
	}
	for name := range counters {
		e.counters[name] = true
	}
	return e, nil
}

func elementsOf(c *nftables.Conn, s *nftables.Set) (_ []element, err error) {
	defer recovered(&err)
	raw, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", s.Name, err)
	}
	all := make([]element, 0, len(raw))
	for _, r := range raw {
		all = append(all, element{string(r.Key), r.IntervalEnd})
	}
	slices.SortFunc(all, func(a, b element) int { return strings.Compare(a.key, b.key) })
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
