package subnet

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/wake"
)

func signalled(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestViewSignalsOnlyWhenAClaimChanges(t *testing.T) {
	at := func(rev Revision, l Lease) Lease { l.Rev = rev; return l }
	one := lease("10.1.1.0/24", "192.0.2.1", "a")
	two := lease("10.1.2.0/24", "192.0.2.2")
	gone := Lease{V4: Claim{Subnet: one.V4.Subnet}}
	for _, tt := range []struct {
		name string
		do   func(*View)
		want bool
		left int
	}{
		{"renewal", func(v *View) { v.Apply(Event{Lease: at(7, one)}) }, false, 1},
		{"new attributes", func(v *View) { v.Apply(Event{Lease: at(7, lease("10.1.1.0/24", "192.0.2.1", "b"))}) }, true, 1},
		{"another host", func(v *View) { v.Apply(Event{Lease: at(7, two)}) }, true, 2},
		{"expiry", func(v *View) { v.Apply(Event{Lease: at(7, gone), Deleted: true}) }, true, 0},
		{"expiry without a revision", func(v *View) { v.Apply(Event{Lease: gone, Deleted: true}) }, true, 0},
		{"expiry of an earlier holder", func(v *View) { v.Apply(Event{Lease: at(4, gone), Deleted: true}) }, false, 1},
		{"expiry of what is not there", func(v *View) { v.Apply(Event{Lease: Lease{V4: Claim{Subnet: two.V4.Subnet}}, Deleted: true}) }, false, 1},
		{"older state", func(v *View) { v.Apply(Event{Lease: at(4, lease("10.1.1.0/24", "192.0.2.9"))}) }, false, 1},
		{"same snapshot", func(v *View) { v.Reset(Snapshot{[]Lease{at(9, one)}, 9}) }, false, 1},
		{"snapshot with other attributes", func(v *View) { v.Reset(Snapshot{[]Lease{lease("10.1.1.0/24", "192.0.2.1", "b")}, 9}) }, true, 1},
		{"snapshot with another key", func(v *View) { v.Reset(Snapshot{[]Lease{at(9, two)}, 9}) }, true, 2},
		{"snapshot with another subnet of the host", func(v *View) { v.Reset(Snapshot{[]Lease{at(9, lease("10.1.3.0/24", "192.0.2.1"))}, 9}) }, true, 1},
		{"snapshot of a wiped store", func(v *View) { v.Reset(Snapshot{nil, 1}) }, true, 1}, // it is kept, and is not the store's
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := NewView()
			v.Reset(Snapshot{[]Lease{at(5, one)}, 5})
			c := wake.New()
			v.Subscribe(c)
			tt.do(v)
			if got := signalled(c); got != tt.want {
				t.Errorf("signalled: %v, want %v", got, tt.want)
			}
			if got := len(v.Leases()); got != tt.left {
				t.Errorf("%d leases, want %d", got, tt.left)
			}
		})
	}
}

// lostOne returns a View whose holder of 10.1.1.0/24 has lost that lease together
// with those of two other hosts.
func lostOne() (*View, <-chan struct{}) {
	v := NewView()
	v.Reset(Snapshot{[]Lease{lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")}, 5})
	c := wake.New()
	v.Subscribe(c)
	v.hold(key("10.1.1.0/24"), "")
	v.Reset(Snapshot{nil, 1})
	return v, c
}

func subnets(v *View) string {
	var all []string
	for _, l := range v.Leases() {
		all = append(all, l.Key().String())
	}
	return strings.Join(all, " ")
}

func TestViewKeepsPeersThatTheStoreHasLost(t *testing.T) {
	two := lease("10.1.2.0/24", "192.0.2.2", "new")
	two.Rev = 3
	for _, tt := range []struct {
		name string
		do   func(*View)
		want string
		lost int
	}{
		{"at once", func(*View) {}, "10.1.2.0/24 10.1.3.0/24", 2},
		{"until they would have ended", func(*View) { time.Sleep(DefaultTTL - time.Second) }, "10.1.2.0/24 10.1.3.0/24", 2},
		{"and no longer", func(*View) { time.Sleep(DefaultTTL) }, "", 0},
		{"one registers again", func(v *View) { v.Apply(Event{Lease: two}) }, "10.1.2.0/24 10.1.3.0/24", 1},
		{"one registers again, and the others end", func(v *View) { v.Apply(Event{Lease: two}); time.Sleep(DefaultTTL) }, "10.1.2.0/24", 0},
		{"one has another subnet", func(v *View) { v.Apply(Event{Lease: lease("10.1.9.0/24", "192.0.2.2")}) }, "10.1.3.0/24 10.1.9.0/24", 1},
		{"one has another subnet, says a listing", func(v *View) { v.Reset(Snapshot{[]Lease{lease("10.1.9.0/24", "192.0.2.2")}, 2}) }, "10.1.3.0/24 10.1.9.0/24", 1},
		{"its subnet is leased otherwise", func(v *View) { v.Apply(Event{Lease: lease("10.1.2.0/25", "192.0.2.9")}) }, "10.1.2.0/25 10.1.3.0/24", 1},
		{"one is deleted", func(v *View) { v.Apply(Event{Lease: Lease{V4: Claim{Subnet: two.V4.Subnet}}, Deleted: true}) }, "10.1.3.0/24", 1},
		{"listed again, own lease and all", func(v *View) { v.Reset(Snapshot{[]Lease{lease("10.1.1.0/24", "192.0.2.1"), two}, 4}) },
			"10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, _ := lostOne()
				tt.do(v)
				if got := subnets(v); got != tt.want || v.Lost() != tt.lost {
					t.Errorf("leases %s, %d of them lost; want %s, %d", got, v.Lost(), tt.want, tt.lost)
				}
			})
		})
	}
}

func TestViewTakesWhatALostPeerWritesFirst(t *testing.T) {
	v, c := lostOne()
	signalled(c)
	two := lease("10.1.2.0/24", "192.0.2.2", "new")
	two.Rev = 2 // the store counts anew
	v.Apply(Event{Lease: two})
	if got, _, _ := v.at(two.Key()); got != two || !signalled(c) {
		t.Errorf("the View has %v", got)
	}
	three := lease("10.1.3.0/24", "192.0.2.3") // as it was
	if v.Apply(Event{Lease: three}); !signalled(c) || v.Lost() != 0 {
		t.Errorf("%d are lost, and nobody was told", v.Lost())
	}
}

// Of a store that was restored from a backup: who came after that has not gone.
func TestViewKeepsPeersThatABackupDoesNotKnow(t *testing.T) {
	own, two := lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2")
	two.Rev = 9
	v := NewView()
	v.hold(own.Key(), "")
	v.Reset(Snapshot{[]Lease{own}, 5})
	v.Apply(Event{Lease: two})
	v.Reset(Snapshot{[]Lease{own}, 7})
	if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24" || v.Lost() != 1 {
		t.Errorf("leases %s, %d of them lost", got, v.Lost())
	}
	v.Reset(Snapshot{[]Lease{own}, 8}) // listed again
	if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24" || v.Lost() != 1 {
		t.Errorf("leases %s, %d of them lost, after another listing", got, v.Lost())
	}
}

// What a host knew when its daemon last ran tells at the start whether the store has lost
// leases.
func TestViewBeginsWithWhatWasKnown(t *testing.T) {
	own, two, three := lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"), lease("10.1.3.0/24", "192.0.2.3")
	own.Node, own.Rev, two.Rev, three.Rev = "n1", 7, 8, 9
	again := own
	again.Rev = 101
	moved := lease("10.1.7.0/24", "192.0.2.77")
	moved.Node, moved.Rev = "n1", 101
	kept := two
	kept.Rev = 0
	for name, row := range map[string]struct {
		known   []Lease
		got     Lease
		created bool
		others  []Lease // that the store has
		rev     Revision
		want    string
		lost    int
	}{
		"nothing known":                          {nil, again, true, nil, 100, "10.1.1.0/24", 0},
		"all is there":                           {[]Lease{own, two, three}, again, false, []Lease{two, three}, 100, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 0},
		"one has gone":                           {[]Lease{own, two, three}, again, false, []Lease{three}, 100, "10.1.1.0/24 10.1.3.0/24", 0},
		"wiped":                                  {[]Lease{own, two, three}, again, true, nil, 3, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 2},
		"the directory was deleted":              {[]Lease{own, two}, again, true, nil, 100, "10.1.1.0/24 10.1.2.0/24", 1},
		"our own has gone, and nobody's else":    {[]Lease{own, two, three}, again, true, []Lease{two, three}, 100, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 0},
		"a backup that does not know one":        {[]Lease{own, two, three}, again, false, []Lease{two}, 8, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 1},
		"kept before":                            {[]Lease{own, kept, three}, again, false, []Lease{three}, 100, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 1},
		"wiped, and this host has moved":         {[]Lease{own, two}, moved, true, nil, 3, "10.1.2.0/24 10.1.7.0/24", 1},
		"wiped, and a newcomer has one's subnet": {[]Lease{own, two, three}, again, true, []Lease{lease("10.1.2.0/24", "192.0.2.9")}, 3, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", 1},
	} {
		v := NewView()
		v.Begin(row.known, Acquired{Lease: row.got, Seen: Snapshot{append(row.others, row.got), row.rev}, Created: row.created})
		if got := subnets(v); got != row.want || v.Lost() != row.lost {
			t.Errorf("%s: leases %s, %d of them lost; want %s, %d", name, got, v.Lost(), row.want, row.lost)
		}
	}
}

func TestViewLosesPeersWhileItsOwnLeaseIsThere(t *testing.T) {
	v := NewView()
	own := lease("10.1.1.0/24", "192.0.2.1")
	v.Reset(Snapshot{[]Lease{own, lease("10.1.2.0/24", "192.0.2.2")}, 5})
	v.hold(own.Key(), "")
	v.Reset(Snapshot{[]Lease{own}, 9})
	if got := subnets(v); got != "10.1.1.0/24" || v.Lost() != 0 {
		t.Errorf("leases %s, %d lost", got, v.Lost())
	}
}

func TestViewLeasesAreASortedCopy(t *testing.T) {
	v := NewView()
	for _, p := range []string{"10.1.20.0/24", "10.1.3.0/24", "9.1.1.0/24"} {
		v.Apply(Event{Lease: lease(p, "192.0.2.1")})
	}
	all := v.Leases()
	if got := fmt.Sprint(all[0].Key(), all[1].Key(), all[2].Key()); got != "9.1.1.0/24 10.1.3.0/24 10.1.20.0/24" {
		t.Errorf("got %s", got)
	}
	all[0] = Lease{}
	if v.Leases()[0].Key() != key("9.1.1.0/24") {
		t.Error("a caller's write reached the View")
	}
}

func BenchmarkViewRenewalAt5000(b *testing.B) {
	v := NewView()
	var l Lease
	for i := range 5000 {
		l = lease(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250), "192.0.2.1")
		v.Apply(Event{Lease: l})
	}
	b.ReportAllocs()
	for b.Loop() {
		v.Apply(Event{Lease: l})
	}
}

func BenchmarkViewLeasesAt5000(b *testing.B) {
	v := NewView()
	for i := range 5000 {
		v.Apply(Event{Lease: lease(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250), "192.0.2.1")})
	}
	b.ReportAllocs()
	for b.Loop() {
		v.Leases()
	}
}

// Leases that expired while the store was away go one by one when it is back, and
// are written again: no peer is to be forgotten meanwhile.
func TestViewKeepsPeersThatExpireTogetherWithItsHost(t *testing.T) {
	gone := func(v *View, subnets ...string) {
		for _, s := range subnets {
			v.Apply(Event{Lease: Lease{V4: Claim{Subnet: key(s).V4}, Rev: 9}, Deleted: true})
		}
	}
	const own, two, three = "10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"
	for _, tt := range []struct {
		name string
		do   func(*View)
		want string
		lost int
	}{
		{"own first", func(v *View) { gone(v, own, two, three) }, two + " " + three, 2},
		{"own last", func(v *View) { gone(v, two, three, own) }, two + " " + three, 2},
		{"own between", func(v *View) { gone(v, two, own, three) }, two + " " + three, 2},
		{"own alone", func(v *View) { gone(v, own) }, two + " " + three, 0},
		{"a peer alone", func(v *View) { gone(v, two) }, own + " " + three, 0},
		{"a peer before", func(v *View) { gone(v, two); time.Sleep(3 * time.Second); gone(v, own) }, three, 0},
		{"a peer afterwards", func(v *View) { gone(v, own); time.Sleep(3 * time.Second); gone(v, two) }, three, 0},
		{"own, written again before the watch tells", func(v *View) {
			gone(v, two)
			v.ownGone()
			l := lease(own, "192.0.2.1")
			l.Rev = 12
			v.Apply(Event{Lease: l})
			gone(v, own, three)
		}, own + " " + two + " " + three, 2},
		{"own, written again, and a peer afterwards", func(v *View) {
			v.ownGone()
			time.Sleep(3 * time.Second)
			gone(v, two)
		}, own + " " + three, 0},
		{"while its own cannot be renewed", func(v *View) { v.ownAtRisk(true); time.Sleep(DefaultTTL); gone(v, two, two) }, own + " " + two + " " + three, 1},
		{"a peer that is deleted meanwhile", func(v *View) { v.ownAtRisk(true); gone(v, two) }, own + " " + three, 0},
		{"when it has just been renewed", func(v *View) { v.ownAtRisk(true); time.Sleep(DefaultTTL); v.ownAtRisk(false); gone(v, two) }, own + " " + two + " " + three, 1},
		{"long after it was renewed", func(v *View) { v.ownAtRisk(true); v.ownAtRisk(false); time.Sleep(3 * time.Second); gone(v, two) }, own + " " + three, 0},
		{"and then their time is over", func(v *View) { gone(v, two, own, three); time.Sleep(DefaultTTL) }, "", 0},
		{"told twice", func(v *View) { gone(v, two, own, three, two) }, two + " " + three, 2},
		{"deleted again", func(v *View) { gone(v, two, own, three); time.Sleep(3 * time.Second); gone(v, two) }, three, 1},
		{"written again", func(v *View) {
			gone(v, two, own, three)
			l := lease(two, "192.0.2.2")
			l.Rev = 12
			v.Apply(Event{Lease: l})
			time.Sleep(DefaultTTL)
		}, two, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := NewView()
				v.Reset(Snapshot{[]Lease{lease(own, "192.0.2.1"), lease(two, "192.0.2.2"), lease(three, "192.0.2.3")}, 5})
				v.hold(key(own), "")
				tt.do(v)
				if got := subnets(v); got != tt.want || v.Lost() != tt.lost {
					t.Errorf("leases %s, %d of them lost; want %s, %d", got, v.Lost(), tt.want, tt.lost)
				}
			})
		})
	}
}

func TestViewRemembersWhatHasBecomeFree(t *testing.T) {
	v := NewView()
	var all []Lease
	for i := range 3 {
		all = append(all, lease(fmt.Sprintf("10.1.%d.0/24", i+1), fmt.Sprintf("192.0.2.%d", i+1)))
	}
	v.Reset(Snapshot{all, 5})
	v.Apply(Event{Lease: Lease{V4: Claim{Subnet: all[1].V4.Subnet}, Rev: 6}, Deleted: true})
	v.Reset(Snapshot{all[2:], 7})
	if got := fmt.Sprint(v.Freed()); got != "[10.1.2.0/24 10.1.1.0/24]" {
		t.Errorf("freed: %s", got)
	}
	v.Apply(Event{Lease: all[1]})
	if got := fmt.Sprint(v.Freed()); got != "[10.1.1.0/24]" {
		t.Errorf("freed, after one was leased again: %s", got)
	}
	for i := range mostFreed + 10 {
		l := lease(fmt.Sprintf("10.%d.%d.0/24", 2+i/200, i%200), "192.0.2.9")
		v.Apply(Event{Lease: l})
		v.Apply(Event{Lease: Lease{V4: Claim{Subnet: l.V4.Subnet}}, Deleted: true})
	}
	if n := len(v.Freed()); n != mostFreed {
		t.Errorf("%d are remembered, want %d", n, mostFreed)
	}
}
