package subnet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTableIsAMap compares it with one, over many random writes.
func TestTableIsAMap(t *testing.T) {
	made := 0 // no two have one revision, as none that a store gives out
	some := func() Lease {
		made++
		l := lease(fmt.Sprintf("10.1.%d.0/24", rand.N(40)), "192.0.2.1")
		l.Rev = Revision(rand.N(1000)*1e6 + made)
		return l
	}
	sorted := func(m map[Key]Lease) []Lease { return slices.SortedFunc(maps.Values(m), Lease.Compare) }
	for range 200 {
		var all []Lease
		model := make(map[Key]Lease)
		for range rand.N(60) {
			l := some()
			all = append(all, l)
			if l.Rev >= model[l.Key()].Rev {
				model[l.Key()] = l
			}
		}
		table := newTable(all)
		other, otherModel := newTable(nil), make(map[Key]Lease)
		for range rand.N(60) {
			l := some()
			other.put(l)
			otherModel[l.Key()] = l
			gone := some()
			table.remove(gone.Key())
			delete(model, gone.Key())
		}
		if !slices.Equal(table, sorted(model)) || !slices.Equal(other, sorted(otherModel)) {
			t.Fatalf("%v, want %v; %v, want %v", table, sorted(model), other, sorted(otherModel))
		}
		var walked []Lease
		table.walk(other, func(l, now Lease, there bool) {
			walked = append(walked, l)
			if want, ok := otherModel[l.Key()]; ok != there || want != now {
				t.Errorf("walk: %v, %t at %s, want %v, %t", now, there, l.Key(), want, ok)
			}
		})
		found := some().Key()
		if l, ok := table.find(found); l != model[found] || ok != (l != Lease{}) || !slices.Equal(walked, table) {
			t.Fatalf("find %s: %v, %t; walked %v of %v", found, l, ok, walked, table)
		}
	}
}
