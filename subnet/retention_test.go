package subnet

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

func TestRetentionKeepsWhatGoesTogetherWithOurOwn(t *testing.T) {
	two, three := lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")
	expired := at(5, two, 0)
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	for _, tt := range []struct {
		name string
		do   func(r *retention)
		want []Key
	}{
		{"a peer alone", func(r *retention) { r.peerGone(two, false, at(0)) }, nil},
		{"a peer just before our own", func(r *retention) { r.peerGone(two, false, at(0)); r.ownGone(at(together)) }, []Key{two.Key()}},
		{"a peer long before our own", func(r *retention) { r.peerGone(two, false, at(0)); r.ownGone(at(together + 1)) }, nil},
		{"a peer just after our own", func(r *retention) { r.ownGone(at(0)); r.peerGone(two, false, at(together)) }, []Key{two.Key()}},
		{"a peer long after our own", func(r *retention) { r.ownGone(at(0)); r.peerGone(two, false, at(together+1)) }, nil},
		{"before and after", func(r *retention) { r.peerGone(two, false, at(0)); r.ownGone(at(1)); r.peerGone(three, false, at(2)) }, []Key{two.Key(), three.Key()}},
		{"our own is at risk", func(r *retention) { r.ownAtRisk(true, at(0)); r.peerGone(expired, false, at(time.Hour)) }, []Key{two.Key()}},
		{"a peer that is deleted while our own is at risk", func(r *retention) { r.ownAtRisk(true, at(0)); r.peerGone(two, false, at(time.Hour)) }, nil},
		{"a peer that may have been deleted while our own is at risk", func(r *retention) { r.ownAtRisk(true, at(0)); r.peerGone(two, true, at(time.Hour)) }, []Key{two.Key()}},
		{"a peer that may have been deleted while our own is safe", func(r *retention) { r.peerGone(two, true, at(time.Hour)) }, nil},
		{"our own was at risk", func(r *retention) {
			r.ownAtRisk(true, at(0))
			r.ownAtRisk(false, at(1))
			r.peerGone(expired, false, at(together))
		}, []Key{two.Key()}},
		{"a peer that is deleted when our own was at risk", func(r *retention) {
			r.ownAtRisk(true, at(0))
			r.ownAtRisk(false, at(1))
			r.peerGone(two, false, at(together))
		}, nil},
		{"our own is safe", func(r *retention) { r.ownAtRisk(false, at(0)); r.peerGone(two, false, at(1)) }, nil},
		{"leased anew before our own goes", func(r *retention) {
			r.peerGone(two, false, at(0))
			r.leased(lease("10.1.2.0/25", "192.0.2.9"))
			r.ownGone(at(1))
		}, nil},
		{"leased anew afterwards", func(r *retention) { r.peerGone(two, false, at(0)); r.ownGone(at(1)); r.leased(two) }, nil},
	} {
		var r retention
		tt.do(&r)
		got := slices.SortedFunc(maps.Keys(r.lost), Key.Compare)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v are kept, want %v", tt.name, got, tt.want)
		}
	}
}

// known makes leases by their keys.
func known(leases ...Lease) map[Key]Lease {
	m := make(map[Key]Lease)
	for _, l := range leases {
		m[l.Key()] = l
	}
	return m
}

// listed is a table of leases.
func listed(leases ...Lease) table { return newTable(slices.Clone(leases)) }

// at returns the lease at a revision, with so much life left.
func at(rev Revision, l Lease, life time.Duration) Lease {
	l.Rev, l.Expires = rev, time.Now().Add(life)
	return l
}

func TestForgotten(t *testing.T) {
	own := at(5, lease("10.1.1.0/24", "192.0.2.1"), time.Hour)
	var peers []Lease
	for i := range 6 {
		peers = append(peers, at(5, lease(fmt.Sprintf("10.1.%d.0/24", 2+i), fmt.Sprintf("192.0.2.%d", 2+i)), time.Hour))
	}
	due := func(l Lease) Lease { return at(5, l, -time.Second) }
	forever := peers[0]
	forever.Expires = time.Time{}
	for name, row := range map[string]struct {
		before, store table
		rev           Revision
		want          bool
	}{
		"nothing":                        {listed(own, peers[0]), listed(own, peers[0]), 9, false},
		"the only peer":                  {listed(own, peers[0]), listed(own), 9, false},
		"one of two peers":               {listed(own, peers[0], peers[1]), listed(own, peers[1]), 9, false},
		"both peers":                     {listed(own, peers[0], peers[1]), listed(own), 9, true},
		"half of all":                    {listed(own, peers[0], peers[1], peers[2]), listed(own, peers[2]), 9, false},
		"more than half":                 {listed(own, peers[0], peers[1], peers[2]), listed(own), 9, true},
		"more than half, all due":        {listed(own, due(peers[0]), due(peers[1]), due(peers[2])), listed(own), 9, false},
		"more than half of what was not": {listed(own, due(peers[0]), peers[1], peers[2]), listed(own), 9, true},
		"half of what was not due":       {listed(own, due(peers[0]), due(peers[1]), peers[2]), listed(own), 9, false},
		"reservations":                   {listed(own, forever, peers[1]), listed(own), 9, true},
		"our own":                        {listed(own, peers[0], peers[1], peers[2]), listed(peers[0], peers[1], peers[2]), 9, true},
		"one that was written later":     {listed(own, at(10, peers[0], time.Hour), peers[1], peers[2]), listed(own, peers[1], peers[2]), 9, true},
		"many others have come":          {listed(own, peers[0], peers[1]), listed(own, peers[2], peers[3], peers[4]), 9, true},
	} {
		if got := forgotten(row.before, row.store, row.rev, own.Key(), time.Now()); got != row.want {
			t.Errorf("%s: forgotten is %t", name, got)
		}
	}
}

func TestRetentionKeepsWhatAListingLacks(t *testing.T) {
	own, two, three := lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")
	moved := lease("10.1.9.0/24", "192.0.2.2")
	for _, tt := range []struct {
		name          string
		kept          map[Key]Lease
		before, store table
		forgotten     bool
		want          map[Key]Lease
	}{
		{"of a store that has forgotten", nil, listed(own, two, three), listed(three), true, known(two)},
		{"of a store that has not", nil, listed(own, two, three), listed(own), false, nil},
		{"what is kept, still lacking", known(two), listed(own), listed(own), false, known(two)},
		{"what is kept, listed", known(two), listed(own), listed(own, two), false, nil},
		{"what is kept, overlapped", known(two), listed(own), listed(own, lease("10.1.2.0/25", "192.0.2.9")), false, nil},
		{"what is kept, by its host's other lease", known(two), listed(own), listed(own, moved), false, nil},
		{"what is lacking, by its host's other lease", nil, listed(own, two), listed(moved), true, nil},
	} {
		r := retention{lost: tt.kept}
		r.listed(tt.before, tt.store, own.Key(), tt.forgotten, time.Now())
		if !maps.Equal(r.lost, tt.want) {
			t.Errorf("%s: %v are kept, want %v", tt.name, r.lost, tt.want)
		}
	}
}

func TestRetentionKeepsForAsLongAsALeaseLives(t *testing.T) {
	now := time.Now()
	l := lease("10.1.2.0/24", "192.0.2.2")
	for name, row := range map[string]struct{ expires, until time.Time }{
		"with life left":           {now.Add(7 * time.Hour), now.Add(7 * time.Hour)},
		"just ended":               {now.Add(-time.Second), now.Add(lostGrace)},
		"one that does not expire": {time.Time{}, now.Add(DefaultTTL)},
	} {
		l.Expires, l.Rev = row.expires, 7
		var r retention
		for range 2 { // twice is once
			r.keep(l, now)
			if kept := r.lost[l.Key()]; !kept.Expires.Equal(row.until) || kept.Rev != 0 {
				t.Errorf("%s: %+v is kept, want it until %s", name, kept, row.until)
			}
		}
		r.expire(row.until.Add(-1))
		if len(r.lost) != 1 {
			t.Errorf("%s: it is dropped too early", name)
		}
		if r.expire(row.until); len(r.lost) != 0 {
			t.Errorf("%s: it is kept for ever", name)
		}
	}
}
