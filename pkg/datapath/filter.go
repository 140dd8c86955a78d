package datapath

import (
	"fmt"
	"hash/fnv"
	"slices"
)

// Filter is a program that sees the packets of a link (tc-bpf(8)), at its clsact queueing
// discipline, which is made if it is missing and never removed, since others use it too.
// There is one of ours for each direction. It stays when the process ends.
type Filter struct {
	Link    string
	Egress  bool   // of what leaves by the link; otherwise of what comes in
	Owner   string // who it belongs to, see Scope.Owner; it is the filter's name
	Program uint32 // its number in the kernel

	// FD is the program's descriptor, in a wanted filter. Two filters are the same whatever
	// it is.
	FD int
}

func (Filter) kind() string { return "filter" }

// On implements Object.
func (f Filter) On() string { return f.Link }

// FilterPriority is where filters of ours are among others. Tc numbers those without a
// priority from 49152 down, so that ours come first.
const FilterPriority = 102

// Handle tells filters of different owners at one link from each other, and from those of
// anybody else.
func (f Filter) Handle() uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(f.Owner))
	return hash.Sum32() | 1 // 0: any
}

func (f Filter) direction() string {
	if f.Egress {
		return "egress"
	}
	return "ingress"
}

// command names the program, which tc cannot attach by its number.
func (f Filter) command(v Verb) string {
	if v == Delete {
		return fmt.Sprintf("tc filter del dev %s %s prio %d protocol ip handle %#x bpf", f.Link, f.direction(), FilterPriority, f.Handle())
	}
	return fmt.Sprintf("tc filter replace dev %s %s prio %d protocol ip handle %#x bpf da name %q # program %d",
		f.Link, f.direction(), FilterPriority, f.Handle(), f.Owner, f.Program)
}

// diffFilters compares filters by their programs' numbers. Filters go with their link.
func diffFilters(want, have []Filter, gone map[string]bool) (set, del []Op) {
	descriptors := make(map[uint32]int, len(want))
	want = slices.Clone(want)
	for i := range want {
		descriptors[want[i].Program], want[i].FD = want[i].FD, 0
	}
	set, del = diff(want, have, gone, func(f Filter) key[string, bool] { return key[string, bool]{f.Link, f.Egress} })
	for i, op := range set {
		f := op.Object.(Filter)
		f.FD = descriptors[f.Program]
		set[i].Object = f
	}
	return set, del
}
