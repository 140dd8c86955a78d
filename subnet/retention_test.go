package subnet

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func TestRetentionKeepsWhatGoesTogetherWithOurOwn(t *testing.T) {
	two, three := lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	for _, tt := range []struct {
		name string
		do   func(r *retention)
		want []Key
	}{
		{"a peer alone", func(r *retention) { r.peerGone(two, at(0)) }, nil},
		{"a peer just before our own", func(r *retention) { r.peerGone(two, at(0)); r.ownGone(at(together)) }, []Key{two.Key()}},
		{"a peer long before our own", func(r *retention) { r.peerGone(two, at(0)); r.ownGone(at(together + 1)) }, nil},
		{"a peer just after our own", func(r *retention) { r.ownGone(at(0)); r.peerGone(two, at(together)) }, []Key{two.Key()}},
		{"a peer long after our own", func(r *retention) { r.ownGone(at(0)); r.peerGone(two, at(together+1)) }, nil},
		{"before and after", func(r *retention) { r.peerGone(two, at(0)); r.ownGone(at(1)); r.peerGone(three, at(2)) }, []Key{two.Key(), three.Key()}},
		{"our own is at risk", func(r *retention) { r.ownAtRisk(true, at(0)); r.peerGone(two, at(time.Hour)) }, []Key{two.Key()}},
		{"our own was at risk", func(r *retention) { r.ownAtRisk(true, at(0)); r.ownAtRisk(false, at(1)); r.peerGone(two, at(together)) }, []Key{two.Key()}},
		{"our own is safe", func(r *retention) { r.ownAtRisk(false, at(0)); r.peerGone(two, at(1)) }, nil},
		{"leased anew before our own goes", func(r *retention) { r.peerGone(two, at(0)); r.leased(key("10.1.2.0/25")); r.ownGone(at(1)) }, nil},
		{"leased anew afterwards", func(r *retention) { r.peerGone(two, at(0)); r.ownGone(at(1)); r.leased(two.Key()) }, nil},
	} {
		var r retention
		tt.do(&r)
		got := slices.SortedFunc(maps.Keys(r.lost), Key.Compare)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v are kept, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRetentionKeepsWhatAListingLacks(t *testing.T) {
	own, two, three := lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")
	set := func(leases ...Lease) map[Key]Lease {
		m := make(map[Key]Lease)
		for _, l := range leases {
			m[l.Key()] = l
		}
		return m
	}
	for _, tt := range []struct {
		name                string
		kept, before, store map[Key]Lease
		forgotten           bool
		want                map[Key]Lease
	}{
		{"of a store that has forgotten", nil, set(own, two, three), set(three), true, set(two)},
		{"of a store that has not", nil, set(own, two, three), set(own), false, nil},
		{"what is kept, still lacking", set(two), set(own, two, three), set(own), false, set(two)},
		{"what is kept, listed", set(two), set(own, two), set(own, two), false, nil},
		{"what is kept, overlapped", set(two), set(own, two), set(own, lease("10.1.2.0/25", "192.0.2.9")), false, nil},
	} {
		r := retention{lost: tt.kept}
		r.listed(tt.before, tt.store, own.Key(), tt.forgotten)
		if !maps.Equal(r.lost, tt.want) {
			t.Errorf("%s: %v are kept, want %v", tt.name, r.lost, tt.want)
		}
	}
}
