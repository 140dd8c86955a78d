package status

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"flanneld/pkg/datapath"
)

// tally counts, and measures times. Names and labels are bounded by the code that uses
// them: no text that comes from outside is one.
type tally struct {
	counts map[tallied]uint64
	times  map[tallied]*Histogram
}

// tallied is a name, and up to two labels with their values.
type tallied struct{ name, label, value, label2, value2 string }

// newTally returns a tally with a zero for what alerts look at: a counter that is first seen
// with a one has not grown, as far as they can tell.
func newTally() tally {
	t := tally{counts: make(map[tallied]uint64), times: make(map[tallied]*Histogram)}
	for _, outcome := range []string{"ok", "refused", "error"} {
		t.add("lease_renewals", 0, "result", outcome)
	}
	for _, of := range []string{"datapath_passes", "firewall_passes"} {
		t.add(of, 0, "result", "ok")
		t.add(of, 0, "result", "error")
	}
	for _, operation := range []string{"config", "await_config", "leases", "watch", "create", "renew", "refresh", "delete"} {
		t.add("etcd_requests", 0, "operation", operation, "result", "error")
	}
	for _, reason := range []string{"ended", "compacted", "error", "burst", "age"} {
		t.add("watch_resyncs", 0, "reason", reason)
	}
	for _, kind := range datapath.Kinds() {
		t.add("datapath_repairs", 0, "kind", kind)
	}
	for _, name := range []string{"lease_conflicts", "firewall_repairs", "watch_events"} {
		t.add(name, 0)
	}
	return t
}

func tag(name string, labels []string) tallied {
	k := tallied{name: name}
	if len(labels) > 0 {
		k.label, k.value = labels[0], labels[1]
	}
	if len(labels) > 2 {
		k.label2, k.value2 = labels[2], labels[3]
	}
	return k
}

func (k tallied) labels() map[string]string {
	if k.label == "" {
		return nil
	}
	m := map[string]string{k.label: k.value}
	if k.label2 != "" {
		m[k.label2] = k.value2
	}
	return m
}

func (k tallied) compare(o tallied) int {
	return cmp.Or(cmp.Compare(k.name, o.name), cmp.Compare(k.value, o.value), cmp.Compare(k.value2, o.value2))
}

func (t *tally) count(name string, labels ...string) { t.add(name, 1, labels...) }

// add counts n. None shows that there is such a counter.
func (t *tally) add(name string, n int, labels ...string) { t.counts[tag(name, labels)] += uint64(n) }

// pass follows one of a loop.
func (t *tally) pass(of string, err error, took time.Duration) {
	t.count(of+"_passes", "result", result(err))
	t.time(of+"_pass_duration", took)
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func (t *tally) time(name string, took time.Duration, labels ...string) {
	k := tag(name, labels)
	if t.times[k] == nil {
		t.times[k] = &Histogram{Name: k.name, Labels: k.labels(), Buckets: make([]uint64, len(Bounds))}
	}
	t.times[k].observe(took)
}

func (t *tally) list() (all []Counter) {
	for _, k := range slices.SortedFunc(maps.Keys(t.counts), tallied.compare) {
		all = append(all, Counter{k.name, k.labels(), t.counts[k]})
	}
	return all
}

func (t *tally) histograms() (all []Histogram) {
	for _, k := range slices.SortedFunc(maps.Keys(t.times), tallied.compare) {
		h := *t.times[k]
		h.Buckets = slices.Clone(h.Buckets)
		all = append(all, h)
	}
	return all
}

// Bounds are the upper bounds of a Histogram's buckets, in seconds: a look at a kernel
// takes a millisecond, a pass over 100,000 peers minutes.
var Bounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Histogram is how long something took, how often.
type Histogram struct {
	Name    string
	Labels  map[string]string
	Count   uint64
	Sum     float64  // seconds
	Buckets []uint64 // how often no longer than each of Bounds
}

func (h *Histogram) observe(took time.Duration) {
	h.Count++
	h.Sum += took.Seconds()
	for i, bound := range Bounds {
		if took.Seconds() <= bound {
			h.Buckets[i]++
		}
	}
}
