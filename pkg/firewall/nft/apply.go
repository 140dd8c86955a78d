package nft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
)

const (
	// chunk is the number of elements in one message, whose attributes have a length
	// of 16 bits.
	chunk = 500
	// rereads is how often rules are read again that change meanwhile.
	rereads = 5
)

// Apply makes the table as wanted, in one transaction, and returns what it changed
// in words. If no rule of anybody has changed since it last was as wanted, nothing
// is read but their generation.
func (k *Kernel) Apply(t Table) (changes []string, err error) {
	want, c := t.parts(), k.conn()
	for try := 0; ; try++ {
		before, err := k.generation()
		if err != nil {
			return nil, err
		}
		if last, ok := k.same[t.ID]; ok && last.generation == before && last.want.equal(want) {
			return nil, nil
		}
		have, readErr := k.read(c, t.ID, want == nil)
		all := want.with(have, t.Sets)
		after, err := k.generation()
		switch {
		case err != nil:
			return nil, err
		case (readErr != nil || after != before) && try < rereads:
			continue
		case readErr != nil:
			return nil, fmt.Errorf("read table %s: %w", t.Name, readErr)
		case have.equal(all):
			if k.same == nil {
				k.same = make(map[ID]stamp)
			}
			k.same[t.ID] = stamp{after, all}
			return nil, nil
		}
		changes = change(c, t, all, have)
		if err := c.Flush(); err != nil {
			return nil, fmt.Errorf("change table %s: %w", t.Name, err)
		}
		return changes, nil // the next call will see that it is as wanted
	}
}

// read returns a table as the kernel has it; nil if there is none. Of one that is to go
// it does not matter what is in it, nor whether it can be read.
func (k *Kernel) read(c *nftables.Conn, id ID, goes bool) (parts, error) {
	tables, err := k.Tables()
	switch {
	case err != nil || !slices.Contains(tables, id):
		return nil, err
	case goes:
		return parts{}, nil
	}
	return readTable(c, id)
}

// change puts into the connection what makes the table as wanted.
func change(c *nftables.Conn, t Table, want, have parts) (changes []string) {
	table := t.table()
	if want == nil {
		c.DelTable(table)
		return []string{"nft delete table " + t.String()}
	}
	// The same chains, sets and counters stay, whatever is in them.
	fresh := !maps.EqualFunc(have, want, func(_, _ []string) bool { return true })
	if fresh {
		// Without an error if it is there or not: others may have made it since it was looked
		// for, and its rules must not be there twice.
		c.AddTable(table)
		c.DelTable(table)
		c.AddTable(table)
		for _, name := range t.Counters {
			c.AddObj(&nftables.CounterObj{Table: table, Name: name})
		}
		have, changes = nil, []string{"nft add table " + t.String()}
	}
	for _, s := range t.Sets {
		set := s.set(table)
		if fresh {
			must(c.AddSet(set, nil))
		}
		before, after := have[setKey(set)], want[setKey(set)]
		add, remove := without(after, before), without(before, after)
		if s.Ranges && len(add)+len(remove) > 0 {
			// Bounds are no elements that could come and go one by one.
			c.FlushSet(set)
			add, remove = after, nil
		}
		sendElements(c.SetDeleteElements, set, remove)
		sendElements(c.SetAddElements, set, add)
		if n := len(add) + len(remove); n > 0 && !fresh {
			changes = append(changes, fmt.Sprintf("nft add/delete %d elements of %s %s", n, t, s.Name))
		}
	}
	for _, ch := range t.Chains {
		chain := ch.chain(table)
		if fresh {
			c.AddChain(chain)
		} else if slices.Equal(want[chainKey(chain)], have[chainKey(chain)]) {
			continue
		} else {
			c.FlushChain(chain)
			changes = append(changes, fmt.Sprintf("nft flush chain %s %s, and its %d rules again", t, ch.Name, len(ch.Rules)))
		}
		for _, r := range ch.Rules {
			rule := r.rule(t.Family)
			rule.Table, rule.Chain = table, chain
			c.AddRule(rule)
		}
	}
	return changes
}

// without returns what of a is not in b. Both are sorted.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(e string) bool {
		_, found := slices.BinarySearch(b, e)
		return found
	})
}

func sendElements(send func(*nftables.Set, []nftables.SetElement) error, s *nftables.Set, all []string) {
	for part := range slices.Chunk(all, chunk) {
		elements := make([]nftables.SetElement, len(part))
		for i, e := range part {
			elements[i].Key, elements[i].IntervalEnd = parseElement(e)
		}
		must(send(s, elements))
	}
}

// must is for what the library refuses for anonymous sets only.
func must(err error) {
	if err != nil {
		panic("a set that is not anonymous cannot be changed: " + err.Error())
	}
}
