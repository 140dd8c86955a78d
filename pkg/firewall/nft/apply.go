package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
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
	want, err := t.encode()
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	c, err := k.dial()
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		before, err := k.generation()
		if err != nil {
			return nil, err
		}
		if last, ok := k.same[t.ID]; ok && last.generation == before && last.want.equal(want) {
			return nil, nil
		}
		have, readErr := k.read(c, t.ID)
		after, err := k.generation()
		switch {
		case err != nil:
			return nil, err
		case (readErr != nil || after != before) && try < rereads:
			continue
		case readErr != nil:
			return nil, fmt.Errorf("read table %s: %w", t.Name, readErr)
		case have != nil && have.equal(want):
			if k.same == nil {
				k.same = make(map[ID]stamp)
			}
			k.same[t.ID] = stamp{after, want}
			return nil, nil
		}
		changes = change(c, t, want, have)
		if err := c.Flush(); err != nil {
			return nil, fmt.Errorf("change table %s: %w", t.Name, unsupported(err))
		}
		return changes, nil // the next call will see that it is as wanted
	}
}

// read returns a table as the kernel has it; nil if there is none.
func (k *Kernel) read(c *nftables.Conn, id ID) (*encoded, error) {
	tables, err := k.Tables()
	if err != nil || !slices.Contains(tables, id) {
		return nil, err
	}
	return readTable(c, id)
}

// Delete removes tables that there are, and returns what it changed in words.
func (k *Kernel) Delete(ids ...ID) (changes []string, err error) {
	tables, err := k.Tables()
	if err != nil {
		return nil, err
	}
	c, err := k.dial()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if slices.Contains(tables, id) {
			c.DelTable(id.table())
			changes = append(changes, "nft delete table "+id.String())
		}
	}
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("delete tables: %w", err)
	}
	return changes, nil
}

// change puts into the connection what makes the table as wanted.
func change(c *nftables.Conn, t Table, want encoded, have *encoded) (changes []string) {
	table := t.table()
	fresh := have == nil || !have.sameShape(want)
	if fresh {
		if have != nil {
			c.DelTable(table)
		}
		c.AddTable(table)
		for _, name := range t.Counters {
			c.AddObj(&nftables.CounterObj{Table: table, Name: name})
		}
		changes = append(changes, "nft add table "+t.String())
	}
	for _, s := range t.Sets {
		set := s.set(table)
		var old []element
		if fresh {
			if err := c.AddSet(set, nil); err != nil {
				panic("a set that is not anonymous cannot be added: " + err.Error())
			}
		} else {
			old = have.sets[s.Name].elements
		}
		add, remove := differing(want.sets[s.Name].elements, old)
		if s.Ranges && len(add)+len(remove) > 0 {
			// Bounds are no elements that could come and go one by one.
			c.FlushSet(set)
			add, remove = want.sets[s.Name].elements, nil
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
		} else if slices.Equal(want.chains[ch.Name].rules, have.chains[ch.Name].rules) {
			continue
		} else {
			c.FlushChain(chain)
			changes = append(changes, fmt.Sprintf("nft flush chain %s %s, and its %d rules again", t, ch.Name, len(ch.Rules)))
		}
		for _, r := range ch.Rules {
			exprs, _ := r.expressions(t.Family) // as when it was encoded
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: r.userData()})
		}
	}
	return changes
}

// differing returns what of want is not in have, and the reverse. Both are sorted.
func differing(want, have []element) (add, remove []element) {
	for len(want) > 0 || len(have) > 0 {
		switch {
		case len(have) == 0 || len(want) > 0 && want[0].key < have[0].key:
			add, want = append(add, want[0]), want[1:]
		case len(want) == 0 || have[0].key < want[0].key:
			remove, have = append(remove, have[0]), have[1:]
		case want[0] != have[0]:
			add, remove = append(add, want[0]), append(remove, have[0])
			want, have = want[1:], have[1:]
		default:
			want, have = want[1:], have[1:]
		}
	}
	return add, remove
}

func sendElements(send func(*nftables.Set, []nftables.SetElement) error, s *nftables.Set, all []element) {
	for part := range slices.Chunk(all, chunk) {
		elements := make([]nftables.SetElement, len(part))
		for i, e := range part {
			elements[i] = nftables.SetElement{Key: []byte(e.key), IntervalEnd: e.end}
		}
		if err := send(s, elements); err != nil {
			panic("elements of a set that is not anonymous cannot be changed: " + err.Error())
		}
	}
}

// unsupported says which errors of the kernel mean that it lacks something.
func unsupported(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w that this needs: %w", ErrUnsupported, err)
	}
	return err
}
