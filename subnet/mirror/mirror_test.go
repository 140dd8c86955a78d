package mirror

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

var (
	one   = lease("10.5.1.0/24", "192.0.2.1", "n1", "01")
	two   = lease("10.5.2.0/24", "192.0.2.2", "n2", "02")
	three = lease("10.5.3.0/24", "192.0.2.3", "", "03") // of an older release
	day   = subnet.DefaultTTL
)

func TestMirrorCopiesBothWays(t *testing.T) {
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v3.put(three, day)
	}, func(l *lab) {
		l.want(l.v3, one, "v2")
		l.want(l.v2, three, "v3")
		if doc, err := l.v3.Config(l.Context()); err != nil || string(doc.Raw) != document {
			t.Errorf("v3 has the configuration %q, %v", doc.Raw, err)
		}
		l.v3.put(two, day)
		synctest.Wait()
		l.want(l.v2, two, "v3")
		l.want(l.v3, two, "")
		l.want(l.v2, one, "")
		changed := two
		changed.V4.Data = `{"VtepMAC":"99"}`
		l.v3.put(changed, day)
		l.settle()
		l.want(l.v2, changed, "v3")
		l.v3.Remove(wire.Key(two.Key()))
		l.settle()
		l.wantNone(l.v2, two.Key())
	})
}

// What it has done does not wake it again.
func TestMirrorIsQuietInStep(t *testing.T) {
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v3.put(three, 0)
	}, func(l *lab) {
		l.settle()
		before := l.v2.count() + l.v3.count()
		for range 100 { // hosts refresh quietly
			time.Sleep(time.Hour)
			if _, _, err := l.v2.Store.Refresh(l.Context(), one, day); err != nil {
				t.Fatal(err)
			}
		}
		if n := l.v2.count() + l.v3.count() - before; n != 0 {
			t.Errorf("%d writes in 100 hours", n)
		}
		l.want(l.v3, one, "v2")
		l.want(l.v2, three, "v3")
		if left := time.Until(l.v3.get(one.Key()).Expires); left < 22*time.Hour {
			t.Errorf("the copy lives for %s", left)
		}
		if !l.v2.get(three.Key()).Reserved() {
			t.Error("the copy of a reservation is none")
		}
	})
}

// A host stops on v2, starts on v3, and goes back.
func TestMirrorFollowsAHostThatMoves(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		ttl := day
		if reserved {
			ttl = 0
		}
		bubble(t, func(l *lab) { l.v2.put(one, ttl) }, func(l *lab) {
			moved := one
			moved.V4.Data = `{"VtepMAC":"99"}`
			time.Sleep(3 * time.Hour)
			if !reserved { // so that the revision that the mirror knows is an old one
				_, _, _ = l.v2.Store.Refresh(l.Context(), one, day)
			}
			if _, err := l.v3.Store.Renew(l.Context(), l.v3.get(one.Key()), moved, ttl); err != nil {
				t.Fatal(err)
			}
			l.settle()
			l.want(l.v3, moved, "")
			l.want(l.v2, moved, "v3")
			for range 40 { // nobody but the mirror keeps the copy alive
				time.Sleep(time.Hour)
				if !reserved {
					_, _, _ = l.v3.Store.Refresh(l.Context(), moved, day)
				}
			}
			l.want(l.v2, moved, "v3")
			if now := l.v2.get(one.Key()); now.Reserved() != reserved {
				t.Errorf("reserved: %t, and v2 has %s", reserved, show(now))
			}
			if _, err := l.v2.Store.Renew(l.Context(), l.v2.get(one.Key()), one, ttl); err != nil {
				t.Fatal(err)
			}
			l.settle()
			l.want(l.v2, one, "")
			l.want(l.v3, one, "v2")
			if d := l.mirror.Done(); d.Moved != 2 {
				t.Errorf("done: %+v", d)
			}
		})
	}
}

// After a start it was seen of no lease when it was written.
func TestMirrorFindsOutWhereAHostIs(t *testing.T) {
	for _, on3 := range []bool{false, true} {
		bubble(t, func(l *lab) {
			here, there := l.v2, l.v3
			if on3 {
				here, there = there, here
			}
			there.put(one, 20*time.Hour)
			here.put(one, 21*time.Hour)
		}, func(l *lab) {
			l.settle()
			if on3 {
				l.want(l.v3, one, "")
				l.want(l.v2, one, "v3")
			} else {
				l.want(l.v2, one, "")
				l.want(l.v3, one, "v2")
			}
		})
	}
}

func TestMirrorLeavesConflictsAlone(t *testing.T) {
	rival := lease("10.5.1.0/24", "192.0.2.9", "n9", "09")
	wide := lease("10.5.2.0/23", "192.0.2.8", "n8", "08")
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v3.put(rival, day)
		l.v2.put(two, day)
		l.v3.put(wide, day)
	}, func(l *lab) {
		l.settle()
		l.want(l.v2, one, "")
		l.want(l.v3, rival, "")
		l.wantNone(l.v3, two.Key())
		l.wantNone(l.v2, wide.Key())
		r := l.mirror.Report()
		text := ""
		for _, p := range r.Problems {
			if text += p.Why + "\n"; !p.Conflict {
				t.Errorf("no conflict: %+v", p)
			}
		}
		for _, part := range []string{"10.5.1.0/24", "192.0.2.1 (node n1) on v2", "192.0.2.9 (node n9) on v3", "10.5.2.0/23"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q does not name %s", text, part)
			}
		}
		if len(r.Problems) != 3 || len(r.Sides[0].Hosts) != 2 || len(r.Sides[1].Hosts) != 2 || l.v2.count()+l.v3.count() != 0 {
			t.Errorf("report %+v after %d writes", r, l.v2.count()+l.v3.count())
		}
		l.v3.Remove(wire.Key(rival.Key()))
		l.v3.Remove(wire.Key(wide.Key()))
		l.settle()
		l.want(l.v3, one, "v2")
		l.want(l.v3, two, "v2")
		if r := l.mirror.Report(); len(r.Problems) != 0 {
			t.Errorf("still %+v", r.Problems)
		}
	})
}

// A host that took another subnet on v3 is not given its former one there.
func TestMirrorDoesNotCopyAFormerLease(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, day) }, func(l *lab) {
		l.settle()
		other := lease("10.5.7.0/24", "192.0.2.1", "n1", "01")
		l.v3.put(other, day)             // before the mirror can miss the copy
		l.v3.Remove(wire.Key(one.Key())) // the configuration does not allow it any more
		before := l.v3.count()
		time.Sleep(time.Hour)
		l.wantNone(l.v3, one.Key())
		l.want(l.v2, one, "")
		l.want(l.v2, other, "v3")
		if p := l.mirror.Report().Problems; len(p) != 1 || p[0].Conflict || l.v3.count() != before {
			t.Errorf("problems: %+v", p)
		}
		time.Sleep(day)
		l.wantNone(l.v2, one.Key())
		if p := l.mirror.Report().Problems; len(p) != 0 {
			t.Errorf("problems: %+v", p)
		}
	})
}

// Neither side is wiped because the other one was.
func TestMirrorKeepsCopiesOfAWipedSide(t *testing.T) {
	for name, wipe := range map[string]func(*space){
		"at once": func(s *space) { s.RemoveAll() },
		"one by one": func(s *space) {
			for k := range s.raw() {
				s.Remove(wire.Key(k))
				time.Sleep(200 * time.Millisecond)
			}
		},
		"the configuration, too": func(s *space) {
			s.DeleteConfig()
			for k := range s.raw() {
				s.Remove(wire.Key(k))
				time.Sleep(5 * time.Second)
			}
		},
		"by a restart": func(s *space) {
			s.setDown(errors.New("away"))
			for k := range s.raw() {
				s.Remove(wire.Key(k))
			}
			time.Sleep(time.Minute)
			s.setDown(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(l *lab) {
				l.v2.put(one, day)
				l.v2.put(two, day)
				l.v3.put(three, day)
			}, func(l *lab) {
				l.settle()
				wipe(l.v2)
				time.Sleep(time.Minute)
				l.want(l.v3, one, "v2")
				l.want(l.v3, two, "v2")
				l.want(l.v3, three, "")
				l.want(l.v2, three, "v3")
				if r := l.mirror.Report(); r.Sides[1].Left != 2 {
					t.Errorf("report: %+v", r)
				}
				l.v2.SetConfig(document)
				l.v2.put(one, day) // its host has registered again; the other one has not
				time.Sleep(day + time.Hour)
				l.wantNone(l.v3, two.Key())
			})
		})
	}
}

// A backup lacks what came after it, although its hosts are there: that is less than half.
func TestMirrorKeepsCopiesOfARestoredSide(t *testing.T) {
	all := []subnet.Lease{one, two, lease("10.5.4.0/24", "192.0.2.4", "n4", "04"), lease("10.5.5.0/24", "192.0.2.5", "n5", "05")}
	bubble(t, func(l *lab) {
		for _, a := range all {
			l.v2.put(a, day)
		}
	}, func(l *lab) {
		l.settle()
		l.v2.Churn(10)
		l.v2.put(all[3], day)
		l.settle()
		l.v2.restore(func(s *space) {
			s.SetConfig(document)
			for _, a := range all[:3] {
				s.put(a, day)
			}
		})
		time.Sleep(time.Minute)
		for _, a := range all {
			l.want(l.v3, a, "v2")
		}
		if r := l.mirror.Report(); r.Sides[1].Left != 1 {
			t.Errorf("report: %+v", r)
		}
		l.v2.put(all[3], day) // it registers again
		l.settle()
		if r := l.mirror.Report(); r.Sides[1].Left != 0 || r.Sides[1].Copies != 4 {
			t.Errorf("report: %+v", r)
		}
	})
}

// What goes while no mirror runs is left to expire.
func TestMirrorRemovesWhatItSawGo(t *testing.T) {
	copied := two
	copied.Mirror = "v2"
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v3.put(copied, day)
	}, func(l *lab) {
		time.Sleep(time.Hour)
		l.want(l.v3, two, "v2")
		l.v2.Remove(wire.Key(one.Key()))
		l.settle()
		l.wantNone(l.v3, one.Key())
		l.want(l.v3, two, "v2")
		time.Sleep(day)
		l.wantNone(l.v3, two.Key())
	})
}

// The host of a lease that vanished for a moment, as in a restart of etcd, keeps its copy.
func TestMirrorIsNotHasty(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, day) }, func(l *lab) {
		l.settle()
		writes := l.v3.count()
		l.v2.Remove(wire.Key(one.Key()))
		time.Sleep(time.Second)
		l.v2.put(one, day)
		time.Sleep(time.Minute)
		l.want(l.v3, one, "v2")
		if l.v3.count() != writes {
			t.Errorf("%d writes", l.v3.count()-writes)
		}
	})
}

func TestMirrorOutlastsOutages(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, day) }, func(l *lab) {
		l.settle()
		away := errors.New("connection refused")
		for _, s := range []*space{l.v2, l.v3} {
			s.setDown(away)
			time.Sleep(10 * time.Minute)
			l.v2.put(two, day)
			l.v3.put(three, day)
			l.v2.Churn(2000)
			time.Sleep(10 * time.Minute)
			s.setDown(nil)
			time.Sleep(time.Minute)
			l.want(l.v3, one, "v2")
			l.want(l.v3, two, "v2")
			l.want(l.v2, three, "v3")
		}
	})
}

// Two hosts that are both there and take one lease for theirs do not make it write without
// end.
func TestMirrorBoundsAFight(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, day) }, func(l *lab) {
		l.settle()
		l.v3.put(one, day)
		stop := time.Now().Add(10 * time.Minute)
		for time.Now().Before(stop) {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			for _, s := range []*space{l.v2, l.v3} {
				if s.get(one.Key()).Mirror != "" {
					s.put(one, day)
				}
			}
		}
		if n := l.v2.count() + l.v3.count(); n > 25 {
			t.Errorf("%d writes in ten minutes", n)
		}
	})
}

// A key that holds what is no lease is there, and is not listed.
func TestMirrorIsPatientWithJunk(t *testing.T) {
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v3.PutTTL(wire.Key(one.Key()), "junk", 0)
	}, func(l *lab) {
		time.Sleep(time.Hour)
		if n := l.v3.count(); n > 100 {
			t.Errorf("%d writes in an hour", n)
		}
		l.v3.Remove(wire.Key(one.Key()))
		time.Sleep(2 * time.Minute)
		l.want(l.v3, one, "v2")
	})
}

// An operator's reservation stays one, on whatever side its host is.
func TestMirrorKeepsReservations(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, 0) }, func(l *lab) {
		l.settle()
		if !l.v3.get(one.Key()).Reserved() {
			t.Error("the copy is no reservation")
		}
		moved := one
		moved.V4.Data = `{"VtepMAC":"99"}`
		l.v3.put(moved, day) // as release 0.28.9 does
		l.settle()
		l.want(l.v2, moved, "")
		l.want(l.v3, moved, "")
		if !l.v2.get(one.Key()).Reserved() || l.v3.get(one.Key()).Reserved() {
			t.Errorf("v2 has %s, v3 %s", show(l.v2.get(one.Key())), show(l.v3.get(one.Key())))
		}
		time.Sleep(day + time.Minute)
		l.want(l.v3, moved, "v2")
		if l.v2.put(moved, day); true { // no reservation any more
			l.settle()
		}
		if l.v3.get(one.Key()).Reserved() {
			t.Error("the copy is still a reservation")
		}
	})
}

func TestMirrorAnswersAContest(t *testing.T) {
	bubble(t, func(l *lab) { l.v2.put(one, day) }, func(l *lab) {
		l.settle()
		asked := one
		asked.Mirror, asked.Contest = "v2", "X"
		l.v3.put(asked, day)
		l.settle()
		l.want(l.v3, one, "v2")
		asked.Mirror = ""
		l.v2.put(asked, day) // of the original it is the host that has to answer
		l.settle()
		l.want(l.v3, one, "v2")
		l.want(l.v2, asked, "")
	})
}

func TestMirrorFollowsTheConfiguration(t *testing.T) {
	const other = `{"Network": "10.6.0.0/16"}`
	raw := func(s *space) string { doc, _ := s.Store.Config(context.Background()); return string(doc.Raw) }
	bubble(t, nil, func(l *lab) {
		l.v2.SetConfig(other)
		time.Sleep(configEvery + time.Second)
		if raw(l.v3) != other {
			t.Errorf("v3 has %s", raw(l.v3))
		}
		l.v3.SetConfig(document)
		time.Sleep(configEvery + time.Second)
		p := l.mirror.Report().Problems
		if raw(l.v2) != other || raw(l.v3) != document || len(p) != 1 || !strings.Contains(p[0].Why, "Network 10.6.0.0/16 -> 10.5.0.0/16") {
			t.Errorf("v2 has %s, v3 %s: %+v", raw(l.v2), raw(l.v3), p)
		}
		l.v3.SetConfig(" " + other)
		time.Sleep(configEvery + time.Second)
		l.v2.DeleteConfig()
		time.Sleep(configEvery + time.Second)
		if p := l.mirror.Report().Problems; raw(l.v3) != " "+other || len(p) != 1 {
			t.Errorf("v3 has %s: %+v", raw(l.v3), p)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.v3.SetConfig(other)
		if err := New(Options{From: Side{"v2", l.v2}, To: Side{"v3", l.v3}}).Run(t.Context()); !errors.Is(err, ErrConfig) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestReportSaysWhatStandsWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.v2.put(one, day)
		l.v2.put(two, 0)
		l.v3.put(three, day)
		l.begin()
		l.settle()
		r := l.end()
		if a, b := r.Sides[0], r.Sides[1]; len(a.Hosts) != 2 || a.Copies != 1 || len(b.Hosts) != 1 || b.Copies != 2 ||
			!a.Hosts[1].Reserved || a.Hosts[0].Node != "n1" || b.Hosts[0].PublicIP != "192.0.2.3" ||
			time.Until(a.Until) < 23*time.Hour || r.Done.Created != 3 {
			t.Errorf("report: %+v", r)
		}
	})
}

// Two mirrors do the same, and do not keep each other busy.
func TestTwoMirrors(t *testing.T) {
	bubble(t, func(l *lab) {
		l.v2.put(one, day)
		l.v2.put(two, 0)
		l.v3.put(three, day)
	}, func(l *lab) {
		second := &lab{T: l.T, v2: l.v2, v3: l.v3}
		second.begin()
		defer second.end()
		l.settle()
		moved := one
		moved.V4.Data = `{"VtepMAC":"99"}`
		l.v3.put(moved, day)
		l.settle()
		l.want(l.v3, moved, "")
		l.want(l.v2, moved, "v3")
		l.want(l.v3, two, "v2")
		l.want(l.v2, three, "v3")
		before := l.v2.count() + l.v3.count()
		for range 30 {
			time.Sleep(time.Hour)
			for _, at := range []subnet.Lease{moved, three} {
				_, _, _ = l.v3.Store.Refresh(l.Context(), at, day)
			}
		}
		if n := l.v2.count() + l.v3.count() - before; n > 0 {
			t.Errorf("%d writes although all is in step", n)
		}
		l.want(l.v2, moved, "v3")
		l.v3.Remove(wire.Key(moved.Key()))
		l.settle()
		l.wantNone(l.v2, moved.Key())
		l.v2.put(one, day)
		time.Sleep(time.Minute)
		l.want(l.v3, one, "v2")
	})
}
