package subnet

import (
	"cmp"
	"slices"
)

// table is leases sorted by their keys, of which no two are the same. Where there are
// thousands it takes half of a map's memory, and nobody has to sort them.
type table []Lease

// newTable returns a table of leases; of two with one key that which was written later. It takes the slice over.
func newTable(all []Lease) table {
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Or(a.Compare(b), cmp.Compare(a.Rev, b.Rev)) })
	t := all[:0]
	for i, l := range all {
		if i+1 == len(all) || all[i+1].Key() != l.Key() {
			t = append(t, l)
		}
	}
	return t
}

// search returns where the key's lease is or would be, and whether it is there.
func (t table) search(k Key) (int, bool) {
	return slices.BinarySearchFunc(t, k, func(l Lease, k Key) int { return l.Key().Compare(k) })
}

func (t table) find(k Key) (Lease, bool) {
	if i, ok := t.search(k); ok {
		return t[i], true
	}
	return Lease{}, false
}

func (t *table) put(l Lease) {
	i, ok := t.search(l.Key())
	if !ok {
		*t = slices.Insert(*t, i, Lease{})
	}
	(*t)[i] = l
}

func (t *table) remove(k Key) {
	if i, ok := t.search(k); ok {
		*t = slices.Delete(*t, i, i+1)
	}
}

// walk calls f with each lease, and the other table's of the same key; there is false if
// that has none.
func (t table) walk(other table, f func(l, now Lease, there bool)) {
	for _, l := range t {
		k := l.Key()
		there := len(other) > 0 && other[0].Key() == k
		if !there { // which is rare: two tables of the same hosts
			var i int
			i, there = other.search(k)
			other = other[i:]
		}
		var now Lease
		if there {
			now, other = other[0], other[1:]
		}
		f(l, now, there)
	}
}
