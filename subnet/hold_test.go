package subnet

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// holder is a host that holds a lease, with everything around it.
type holder struct {
	*logs
	store   *fakeStore
	view    *View
	own     Lease // as acquired
	err     error // of Hold, once ended is closed
	ended   chan struct{}
	reports []Standing
	renewed []Standing // of those
	entered []Standing
	changes chan Lease
	asked   chan func()
	clock   *fakeClock
}

// fakeClock goes with the bubble's time, but for what is done to it.
type fakeClock struct {
	mu        sync.Mutex
	start     time.Time
	away, set time.Duration // that the host was suspended, and that its wall clock was set by
}

func (c *fakeClock) now() (time.Duration, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return time.Hour + now.Sub(c.start) + c.away, now.Add(c.away + c.set)
}

// suspend makes the host sleep: nothing in it goes on but the clocks that count that.
func (c *fakeClock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away += d
}

// setWall sets the wall clock forward.
func (c *fakeClock) setWall(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set += d
}

// holding acquires a lease from the store and holds it until the test ends.
func holding(t *testing.T, store *fakeStore, options ...func(*Holding)) *holder {
	t.Helper()
	return holdingAs(t, store, "", options...)
}

// holdingAs is holding for a host with a node id.
func holdingAs(t *testing.T, store *fakeStore, node string, options ...func(*Holding)) *holder {
	t.Helper()
	h := &holder{logs: &logs{}, store: store, view: NewView(), ended: make(chan struct{}),
		changes: make(chan Lease), asked: make(chan func()), clock: &fakeClock{start: time.Now()}}
	r := request("10.1.7.0/24")
	r.Lease.Node = node
	own, seen, err := acquire(t.Context(), store, r, h.logger())
	if err != nil {
		t.Fatal(err)
	}
	h.own = own
	h.view.Reset(seen)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() { defer close(followed); _ = Follow(ctx, store, h.view, seen.Rev, h.logger()) }()
	holding := Holding{View: h.view, Log: h.logger(), Clock: h.clock.now, Changes: h.changes, Ping: h.asked,
		Report: h.report}
	for _, o := range options {
		o(&holding)
	}
	go func() {
		defer close(h.ended)
		h.err = Hold(ctx, store, own, holding)
	}()
	t.Cleanup(func() {
		cancel()
		<-followed
		<-h.ended
		if h.err != nil && !errors.Is(h.err, ErrLost) {
			t.Errorf("Hold: %v", h.err)
		}
		if h.view.own != (ownLease{}) {
			t.Error("the View still takes the lease for held")
		}
	})
	synctest.Wait()
	return h
}

// report notes the writes, which move the deadline, and the changes of the state.
func (h *holder) report(s Standing) {
	n := len(h.reports)
	if n > 0 && s.Sent != h.reports[n-1].Sent {
		h.renewed = append(h.renewed, s)
	}
	if n == 0 || s.State != h.reports[n-1].State {
		h.entered = append(h.entered, s)
	}
	h.reports = append(h.reports, s)
}

// holds checks that the lease is ours in the store and that Hold goes on.
func (h *holder) holds(t *testing.T) Lease {
	t.Helper()
	synctest.Wait()
	select {
	case <-h.ended:
		t.Fatalf("Hold ended: %v\n%s", h.err, h)
	default:
	}
	l, ok := h.store.get(h.own.Key())
	if !ok || !l.SameClaim(h.own) {
		t.Fatalf("%s in the store: %v %v, want %v\n%s", h.own.Key(), l, ok, h.own, h)
	}
	return l
}

// lost checks that Hold ended with ErrLost, naming the winner, and left the
// winner's key alone.
func (h *holder) lost(t *testing.T, winner Lease) {
	t.Helper()
	synctest.Wait()
	select {
	case <-h.ended:
	default:
		t.Fatalf("Hold goes on\n%s", h)
	}
	if !errors.Is(h.err, ErrLost) || !strings.Contains(h.err.Error(), winner.V4.PublicIP.String()) {
		t.Errorf("Hold = %v, want ErrLost that names %s", h.err, winner.V4.PublicIP)
	}
	if l, _ := h.store.get(winner.Key()); l != winner {
		t.Errorf("the winner's key was touched: %v, was %v", l, winner)
	}
}

// A day of a lease's life, and more, without anybody waiting for it.
func TestHoldRenewsForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		events := h.store.events()
		time.Sleep(54*time.Minute - time.Second)
		if n := h.store.count("refresh"); n != 0 {
			t.Errorf("renewed %d times before it was due", n)
		}
		time.Sleep(12*time.Minute + 2*time.Second)
		h.holds(t)
		if n := h.store.count("refresh"); n != 1 {
			t.Errorf("renewed %d times in 66 minutes, want once", n)
		}
		for day := 1; day <= 4; day++ {
			time.Sleep(24 * time.Hour)
			if l := h.holds(t); time.Until(l.Expires) < 22*time.Hour+50*time.Minute {
				t.Errorf("day %d: the lease lives for %s more", day, time.Until(l.Expires))
			}
		}
		n := h.store.count("refresh")
		if n < 4*24*10/11 || n > 4*24*10/9+2 || len(h.renewed) != n {
			t.Errorf("%d renewals and %d calls in 4 days", n, len(h.renewed))
		}
		if h.store.events() != events || h.store.count("renew") != 0 {
			t.Errorf("renewals woke everybody: %d events, %d full writes", h.store.events()-events, h.store.count("renew"))
		}
		if len(h.entered) != 1 || h.entered[0].State != Held {
			t.Errorf("states: %v", h.entered)
		}
	})
}

// An old server writes the whole value, which wakes everybody.
func TestHoldRenewsSeldomWhatIsNotQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.loud = true
		h := holding(t, store)
		time.Sleep(3 * 24 * time.Hour)
		h.holds(t)
		if n := h.store.count("refresh"); n < 5 || n > 7 {
			t.Errorf("%d renewals in 3 days, want one each 12 hours", n)
		}
	})
}

func TestHoldRenewsNeverLaterThanTheMarginAsks(t *testing.T) {
	for _, tt := range []struct{ ttl, margin, sent, least, most time.Duration }{
		{ttl: 24 * time.Hour, margin: 1439 * time.Minute, least: time.Minute, most: time.Minute},
		{ttl: 24 * time.Hour, least: 54 * time.Minute, most: 66 * time.Minute},
		{ttl: 24 * time.Hour, sent: 50 * time.Minute, least: 4 * time.Minute, most: 16 * time.Minute},
		{ttl: 24 * time.Hour, sent: 2 * time.Hour},
		{ttl: 2 * time.Hour, margin: 12 * time.Hour, least: 270 * time.Second, most: 330 * time.Second},
		{ttl: 2 * time.Hour, margin: 1439 * time.Minute, least: 5 * time.Second, most: 5 * time.Second},
		{ttl: 4 * time.Second, least: 900 * time.Millisecond, most: 1100 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, clock := newFakeStore(), &fakeClock{start: time.Now()}
			own, _ := store.Create(t.Context(), lease("10.1.7.0/24", me), tt.ttl)
			start, at := time.Now(), time.Duration(-1)
			up, _ := clock.now()
			ctx, cancel := context.WithTimeout(t.Context(), tt.ttl)
			defer cancel()
			err := Hold(ctx, store, own, Holding{TTL: tt.ttl, Margin: tt.margin, Clock: clock.now, Sent: up - tt.sent, View: NewView(),
				Log: new(logs).logger(), Report: func(s Standing) {
					if s.Sent > up-tt.sent {
						at = time.Since(start)
						cancel()
					}
				}})
			if err != nil || at < tt.least || at > tt.most {
				t.Errorf("TTL %s, margin %s, written %s ago: renewed after %s, %v; want %s to %s",
					tt.ttl, tt.margin, tt.sent, at, err, tt.least, tt.most)
			}
		})
	}
}

func TestHoldAnswersAndHoldsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		for range 3 {
			time.Sleep(time.Hour)
			answered := false
			h.asked <- func() { answered = true }
			synctest.Wait()
			if !answered {
				t.Error("no answer")
			}
			h.holds(t)
		}
	})
}

func TestHoldOutlastsAnOutageLongerThanTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Hour)
		h.store.setDown(errDown)
		time.Sleep(26 * time.Hour)
		if _, ok := h.store.get(h.own.Key()); ok {
			t.Fatal("the key should have expired")
		}
		if n := h.lines("Error renewing lease (trying again in "); n < 250 || n > 330 {
			t.Errorf("%d lines in 26 hours of failures, want one each 5 minutes", n)
		}
		if n := h.store.count("refresh"); n < 1500 || n > 3300 {
			t.Errorf("%d tries in 26 hours", n)
		}
		h.store.setDown(nil)
		time.Sleep(90 * time.Second)
		h.holds(t)
		h.want(t, "the lease is safe", 1)
	})
}

func TestHoldRenewsBeforeTheExpiryAfterAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(22*time.Hour + 59*time.Minute)
		h.store.setDown(errDown)
		time.Sleep(55 * time.Minute)
		h.store.setDown(nil)
		time.Sleep(90 * time.Second)
		h.holds(t)
		if n := h.store.count("create"); n != 1 {
			t.Errorf("%d creates: the key was allowed to expire", n)
		}
	})
}

func TestHoldKeepsAReservationAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reserved := lease("10.1.7.0/24", me)
		reserved.Expires = time.Time{}
		h := holding(t, newFakeStore(reserved))
		acquired := h.store.count("renew")
		time.Sleep(50 * time.Hour) // twice the usual life
		if l := h.holds(t); !l.Reserved() || h.store.count("renew") != acquired {
			t.Errorf("reservation was renewed: %v", l)
		}
		h.store.remove(h.own.Key()) // whoever reserved it has taken it back
		if l := h.holds(t); l.Reserved() {
			t.Error("a reservation that was taken back was made again")
		}
		time.Sleep(50 * time.Hour)
		if l := h.holds(t); l.Reserved() || h.store.count("create") != 1 {
			t.Errorf("the lease that took its place was not renewed: %v", l)
		}
	})
}

func TestHoldLeavesALeaseThatBecameAReservationAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Hour)
		h.store.force(h.own, 0)
		time.Sleep(100 * time.Hour)
		if l := h.holds(t); !l.Reserved() {
			t.Errorf("given a TTL: expires %s", l.Expires)
		}
	})
}

// Who asks the host hears of it at once, and of its end.
func TestHoldReportsThatItsLeaseBecameAReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Minute)
		h.store.force(h.own, 0)
		synctest.Wait()
		if s := h.reports[len(h.reports)-1]; s.State != Held || !s.Lease.Reserved() || s.Deadline != 0 {
			t.Errorf("the last report is %+v", s)
		}
		h.store.force(h.own, DefaultTTL)
		synctest.Wait()
		if s := h.reports[len(h.reports)-1]; s.State != Held || s.Lease.Reserved() || s.Deadline == 0 {
			t.Errorf("the last report is %+v", s)
		}
	})
}

func TestHoldTakesAGoneKeyBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Minute)
		start := time.Now()
		for range 3 {
			h.store.remove(h.own.Key())
			h.holds(t)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("took %s", waited)
		}
		h.want(t, "Lease has gone from etcd", 3)
		time.Sleep(67 * time.Minute)
		h.holds(t)
		if n := h.store.count("refresh"); n != 1 {
			t.Errorf("%d renewals, want 1", n)
		}
	})
}

// A host that was stopped, or is busy, hears late that its key had gone, when it has
// long taken it back.
func TestHoldDoesNotTakeBackWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		other := h.store.force(lease("10.1.9.0/24", "192.0.2.9"), DefaultTTL)
		time.Sleep(2 * time.Hour)
		now := h.holds(t)
		if now.Rev <= other.Rev {
			t.Fatalf("the lease was not refreshed: revision %d", now.Rev)
		}
		creates, lists := h.store.count("create"), h.store.count("list")
		h.view.Reset(Snapshot{Leases: []Lease{other}, Rev: other.Rev})
		time.Sleep(time.Minute)
		h.holds(t)
		if n := h.store.count("create"); n != creates {
			t.Errorf("it is created %d times", n-creates)
		}
		if n := h.store.count("list") - lists; n < 1 || n > 2 { // Follow lists now and then
			t.Errorf("the store is asked %d times who has the key, want once", n)
		}
		h.want(t, "Lease has gone", 0)
	})
}

func TestHoldTakesItsKeyBackFromAWipedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore(lease("10.1.5.0/24", "192.0.2.9")))
		time.Sleep(time.Hour)
		h.store.wipe()
		time.Sleep(10 * time.Second)
		h.holds(t)
	})
}

func TestHoldReturnsErrLostWhenAnotherHostHasTheKey(t *testing.T) {
	stranger := lease("10.1.7.0/24", "192.0.2.9", "theirs")
	for _, tt := range []struct {
		name  string
		steal func(*fakeStore) Lease
		after time.Duration
	}{
		{"overwritten", func(s *fakeStore) Lease { return s.force(stranger, DefaultTTL) }, 0},
		{"overwritten while history was lost", func(s *fakeStore) Lease {
			l := s.force(stranger, DefaultTTL)
			s.compact()
			return l
		}, 10 * time.Second},
		{"gone and taken at once", func(s *fakeStore) Lease {
			s.remove(stranger.Key())
			return s.force(stranger, DefaultTTL)
		}, 0},
		{"gone and taken while the View is blind", func(s *fakeStore) Lease {
			s.setDown(errDown)
			s.remove(stranger.Key())
			l := s.force(stranger, 0)
			time.Sleep(25 * time.Hour)
			s.setDown(nil)
			return l
		}, 2 * time.Minute},
		{"wiped and taken at a lower revision", func(s *fakeStore) Lease {
			s.wipe(stranger)
			l, _ := s.get(stranger.Key())
			return l
		}, 10 * time.Second},
		{"wiped and taken at the very revision", func(s *fakeStore) Lease {
			s.wipe(lease("10.1.5.0/24", "192.0.2.8"), lease("10.1.6.0/24", "192.0.2.7"), stranger)
			l, _ := s.get(stranger.Key())
			return l
		}, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := holding(t, newFakeStore(lease("10.1.5.0/24", "192.0.2.8"), lease("10.1.6.0/24", "192.0.2.7")))
				time.Sleep(time.Hour)
				winner := tt.steal(h.store)
				time.Sleep(tt.after)
				h.lost(t, winner)
			})
		})
	}
}

// Nobody follows: only the refused renewal tells.
func TestHoldFindsOutWithoutTheView(t *testing.T) {
	for _, stolen := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			own, _ := store.Create(t.Context(), lease("10.1.7.0/24", me), DefaultTTL)
			var winner Lease
			if stolen {
				winner = store.force(lease("10.1.7.0/24", "192.0.2.9"), 100*time.Hour)
			} else {
				store.remove(own.Key())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			err := Hold(ctx, store, own, Holding{View: NewView(), Log: new(logs).logger(), Clock: (&fakeClock{start: time.Now()}).now})
			if have, _ := store.get(own.Key()); stolen && (!errors.Is(err, ErrLost) || have != winner) {
				t.Errorf("stolen: Hold = %v, the store has %v", err, have)
			} else if !stolen && (err != nil || !have.SameClaim(own)) {
				t.Errorf("gone: Hold = %v, the store has %v", err, have)
			}
		})
	}
}

func TestHoldDoesNotFightAHostWithItsPublicIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		duplicate := lease("10.1.7.0/24", me, "theirs")
		for range 60 {
			time.Sleep(time.Minute)
			h.store.force(duplicate, DefaultTTL)
		}
		synctest.Wait()
		if l, _ := h.store.get(h.own.Key()); l.V4.Data != quoted("theirs") || h.store.count("renew") != 0 {
			t.Errorf("fought: the store has %v after %d renewals", l, h.store.count("renew"))
		}
		n := h.lines("Another host publishes our PublicIP")
		if n < 1 || n > 13 {
			t.Errorf("%d lines about the duplicate in an hour, want at most one each 5 minutes", n)
		}
		for _, part := range []string{`theirs="vxlan \"theirs\""`, `ours="vxlan \"new\""`, "--public-ip or --iface"} {
			h.want(t, part, n)
		}
		time.Sleep(23 * time.Hour)
		h.holds(t) // written at the regular renewal
		if n := h.store.count("renew"); n != 1 {
			t.Errorf("%d renewals, want 1", n)
		}
	})
}

func TestHoldAdoptsItsOwnLateWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(22 * time.Hour)
		h.store.set(func() { h.store.late = context.DeadlineExceeded })
		time.Sleep(time.Hour + 10*time.Second)
		h.holds(t)
		if n := h.store.count("renew"); n > 3 {
			t.Errorf("%d tries to settle one late answer", n)
		}
		h.want(t, "Another host", 0)
	})
}

// An answer to Create that was lost: the key is there, and it is ours.
func TestHoldTakesALateCreateForItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Hour)
		h.store.set(func() { h.store.late = context.DeadlineExceeded })
		h.store.remove(h.own.Key())
		time.Sleep(10 * time.Second)
		h.holds(t)
		time.Sleep(50 * time.Hour)
		h.holds(t)
	})
}

func TestHoldRenewsEarlyWhatWillExpireEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(2 * time.Hour)
		h.store.force(h.own, 30*time.Minute) // an operator's hand; no claim changes
		time.Sleep(time.Hour)
		h.holds(t)
		if n := h.store.count("create"); n != 1 || len(h.renewed) < 2 {
			t.Errorf("%d creates, %d renewals: the key was allowed to expire", n, len(h.renewed))
		}
	})
}

// A key that exists and is no lease can neither be created nor seen.
func TestHoldIsPatientWithAKeyThatIsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		h.store.spoil(h.own.Key())
		time.Sleep(time.Hour)
		if n := h.store.count("create"); n > 150 {
			t.Errorf("%d creates in an hour", n)
		}
		if n := h.lines("its key holds what is no lease"); n < 10 || n > 13 {
			t.Errorf("%d lines in an hour, want one each 5 minutes", n)
		}
		h.store.remove(h.own.Key())
		time.Sleep(2 * time.Minute)
		h.holds(t)
	})
}

// states returns the states that Hold went through.
func (h *holder) states() []State {
	synctest.Wait()
	var all []State
	for _, s := range h.entered {
		all = append(all, s.State)
	}
	return all
}

func (h *holder) wantStates(t *testing.T, want ...State) {
	t.Helper()
	if got := h.states(); !slices.Equal(got, want) {
		t.Errorf("states: %v, want %v\n%s", got, want, h)
	}
	for _, s := range want {
		if s != Held {
			_, words := stateWords(s)
			h.wantSome(t, "Lease is "+words)
		}
	}
}

func (l *logs) wantSome(t *testing.T, with string) {
	t.Helper()
	if l.lines(with) == 0 {
		t.Errorf("no log line with %q in:\n%s", with, l)
	}
}

// The deadline counts from when the last good write was sent, and ends before the
// key does.
func TestHoldEntersEachStateOnceAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		h.store.setDown(errDown)
		time.Sleep(67 * time.Minute)
		h.wantStates(t, Held, AtRisk)
		if s := h.entered[1]; !strings.Contains(s.Reason, errDown.Error()) || s.Deadline != time.Hour+DefaultTTL-5*time.Minute {
			t.Errorf("at risk: %+v", s)
		}
		time.Sleep(23*time.Hour + 55*time.Minute - 67*time.Minute - time.Second)
		h.wantStates(t, Held, AtRisk)
		time.Sleep(time.Second)
		h.wantStates(t, Held, AtRisk, Expired)
		if l, ok := h.store.get(h.own.Key()); !ok || time.Until(l.Expires) < 4*time.Minute {
			t.Errorf("expired here and also in the store: %v", l)
		}
		time.Sleep(24 * time.Hour)
		h.store.setDown(nil)
		time.Sleep(time.Minute)
		h.holds(t)
		h.wantStates(t, Held, AtRisk, Expired, Held)
		time.Sleep(48 * time.Hour)
		h.wantStates(t, Held, AtRisk, Expired, Held)
		h.want(t, "Lease is ", 4)
	})
}

// A store that hangs must not hide the deadline.
func TestHoldExpiresInTimeWhileACallHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holding(t, store, func(h *Holding) { h.TTL = 4 * time.Second })
		store.hang(true)
		time.Sleep(3500*time.Millisecond - time.Nanosecond)
		h.wantStates(t, Held, AtRisk)
		time.Sleep(time.Nanosecond)
		h.wantStates(t, Held, AtRisk, Expired)
		store.hang(false)
	})
}

func TestHoldLooksForItsLeaseAfterASuspension(t *testing.T) {
	for name, tt := range map[string]struct {
		happens func(*holder)
		looks   bool
	}{
		"an hour asleep":                 {func(h *holder) { h.clock.suspend(time.Hour) }, true},
		"a clock set forward":            {func(h *holder) { h.clock.setWall(time.Minute) }, true},
		"a clock set back":               {func(h *holder) { h.clock.setWall(-time.Hour) }, true},
		"a second of leap or of a slew":  {func(h *holder) { h.clock.setWall(time.Second) }, false},
		"a nap of less than it can tell": {func(h *holder) { h.clock.suspend(5 * time.Second) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := holding(t, newFakeStore())
				time.Sleep(5 * time.Minute)
				lists := h.store.count("list")
				tt.happens(h)
				time.Sleep(11 * time.Second)
				if n := h.store.count("list") - lists; n > 1 || (n == 1) != tt.looks {
					t.Errorf("%d listings, want one: %t", n, tt.looks)
				}
				h.wantStates(t, Held)
			})
		})
	}
}

// A host that slept longer than its lease lived finds another in its place, and
// touches nothing.
func TestHoldAwakesToFindItsSubnetTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Minute)
		writes := h.store.count("refresh") + h.store.count("renew") + h.store.count("create")
		h.store.setDown(errDown)
		h.store.remove(h.own.Key())
		winner := h.store.force(lease("10.1.7.0/24", "192.0.2.9"), DefaultTTL)
		h.clock.suspend(30 * time.Hour)
		time.Sleep(10 * time.Second)
		h.wantStates(t, Held, Expired)
		h.store.setDown(nil)
		time.Sleep(time.Minute)
		h.lost(t, winner)
		h.wantStates(t, Held, Expired, Conflict)
		if n := h.store.count("refresh") + h.store.count("renew") + h.store.count("create"); n != writes {
			t.Errorf("%d writes after waking up", n-writes)
		}
	})
}

func TestHoldVerifiesWhatWasKept(t *testing.T) {
	kept := func(h *Holding) { h.Unverified = true }
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holding(t, store, kept)
		time.Sleep(10 * time.Second)
		h.holds(t)
		h.wantStates(t, AtRisk, Held)
		if store.count("refresh") != 1 {
			t.Errorf("%d renewals", store.count("refresh"))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.setDown(errDown)
		l := lease("10.1.7.0/24", me)
		h := &holder{logs: &logs{}, clock: &fakeClock{start: time.Now()}, store: store, own: l}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		up, _ := h.clock.now()
		time.AfterFunc(8*time.Hour, func() { store.setDown(nil) })
		err := Hold(ctx, store, l, Holding{Unverified: true, Sent: up - 20*time.Hour, Clock: h.clock.now, View: NewView(), Log: h.logger(),
			Report: h.report})
		if have, ok := store.get(l.Key()); err != nil || !ok || !have.SameClaim(l) {
			t.Errorf("Hold = %v, the store has %v", err, have)
		}
		h.wantStates(t, AtRisk, Expired, Held)
	})
}

// After an outage of any length the lease is looked for, and renewed, as soon as
// whoever follows the leases has heard of the store.
func TestHoldVerifiesSoonWhenTheStoreIsBack(t *testing.T) {
	kept := func(h *Holding) { h.Unverified = true }
	for name, options := range map[string][]func(*Holding){"held": nil, "kept": {kept}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore()
				h := holding(t, store, options...)
				time.Sleep(time.Minute)
				store.setDown(errDown)
				time.Sleep(12*time.Hour + 13*time.Second)
				n := len(h.renewed)
				store.setDown(nil)
				time.Sleep(5 * time.Second)
				h.holds(t)
				if len(h.renewed) != n+1 {
					t.Errorf("%d renewals within 5 s\n%s", len(h.renewed)-n, h)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // nothing was ever read
		store, l := newFakeStore(lease("10.1.7.0/24", me)), lease("10.1.7.0/24", me)
		store.setDown(errDown)
		h := &holder{logs: &logs{}, clock: &fakeClock{start: time.Now()}, store: store, own: l}
		ctx, cancel := context.WithCancel(t.Context())
		view := NewView()
		view.Reset(Snapshot{Leases: []Lease{l}})
		done := make(chan error, 2)
		go func() { done <- Follow(ctx, store, view, 0, h.logger()) }()
		go func() {
			done <- Hold(ctx, store, l, Holding{Unverified: true, Clock: h.clock.now, View: view, Log: h.logger(),
				Report: h.report})
		}()
		time.Sleep(10*time.Hour + 13*time.Second)
		store.setDown(nil)
		time.Sleep(5 * time.Second)
		h.wantStates(t, AtRisk, Held)
		cancel()
		<-done
		<-done
	})
}

func TestHoldPublishesWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Minute)
		moved := h.own
		moved.V4.PublicIP = netip.MustParseAddr("192.0.2.77")
		moved.V4.Subnet = netip.MustParsePrefix("10.1.9.0/24") // is ignored
		h.changes <- moved
		moved.V4.Subnet = h.own.V4.Subnet
		h.own = moved
		time.Sleep(time.Second)
		h.holds(t)
		time.Sleep(72 * time.Hour)
		h.holds(t)
		h.wantStates(t, Held)
		if n := h.store.count("renew"); n != 1 {
			t.Errorf("%d full writes for one change", n)
		}
	})
}

// A backup of the store is older than the host's last move. It is restored while the host
// runs, or just before it starts again.
func TestHoldWritesOverARestoredLeaseAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		backup func(*Lease)
		ttl    time.Duration
	}{
		"another address":                  {func(l *Lease) { l.V4.PublicIP = netip.MustParseAddr("192.0.2.66") }, DefaultTTL},
		"another MAC":                      {func(l *Lease) { l.V4.Data = `{"VtepMAC":"02:00:00:00:00:66"}` }, DefaultTTL},
		"a reservation with another MAC":   {func(l *Lease) { l.V4.Data = `{"VtepMAC":"02:00:00:00:00:66"}` }, 0},
		"a reservation, without a node id": {func(l *Lease) { l.V4.Data, l.Node = "", "" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFakeStore(lease("10.1.5.0/24", "192.0.2.8"))
				h := holdingAs(t, store, "aaaa")
				moved := h.own
				moved.V4.Data = `{"VtepMAC":"02:00:00:00:00:01"}`
				h.changes <- moved
				h.own = moved
				h.holds(t)
				time.Sleep(10 * time.Second)
				old := moved
				tt.backup(&old)
				store.set(func() {
					store.memory = NewMemory()
					store.memory.Force(old, tt.ttl)
					store.end(ErrCompacted)
				})
				time.Sleep(2 * time.Second)
				if l := h.holds(t); l.Node != "aaaa" || l.Reserved() != (tt.ttl == 0) {
					t.Errorf("the store has %+v", l)
				}
			})
		})
	}
}

func TestHoldPublishesAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		h.store.setDown(errDown)
		time.Sleep(2 * time.Hour)
		moved := h.own
		moved.V4.PublicIP = netip.MustParseAddr("192.0.2.77")
		h.changes <- moved
		time.Sleep(2 * time.Hour)
		h.store.setDown(nil)
		h.own = moved
		time.Sleep(61 * time.Second)
		h.holds(t)
	})
}

// The host was downgraded and upgraded again, or an operator wrote its lease.
func TestHoldWritesItsNodeBackInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa")
		time.Sleep(time.Minute)
		older := h.own
		older.Node = ""
		store.force(older, DefaultTTL)
		time.Sleep(67 * time.Minute)
		if l := h.holds(t); l.Node != "aaaa" {
			t.Errorf("the lease names node %q", l.Node)
		}
		h.wantStates(t, Held)
		h.want(t, "Another host", 0)
	})
}

func TestHoldKnowsARivalByItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa")
		time.Sleep(time.Minute)
		rival := h.own
		rival.Node = "bbbb"
		winner := store.force(rival, DefaultTTL)
		time.Sleep(time.Second)
		h.lost(t, winner)
		h.wantStates(t, Held, Conflict)
		for _, part := range []string{"node aaaa", "node bbbb", "--public-ip or --iface"} {
			if !strings.Contains(h.err.Error(), part) {
				t.Errorf("%v does not say %q", h.err, part)
			}
		}
	})
}

// A copy of a live host takes its lease: the host takes it back, once.
func TestHoldAnswersWhoContestsItsLease(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			if reserved {
				r := lease("10.1.7.0/24", me, "new")
				r.Expires = time.Time{}
				store = newFakeStore(r)
			}
			h := holdingAs(t, store, "aaaa")
			time.Sleep(time.Hour)
			l, _ := store.get(h.own.Key())
			_, alive, err := contest(t.Context(), store, l, DefaultTTL, patienceTwin)
			if now := h.holds(t); err != nil || !alive || now.Contest != "" || now.Reserved() != reserved {
				t.Errorf("contest = %t, %v; the store has %v", alive, err, now)
			}
			h.wantStates(t, Held)
			h.want(t, "answering", 1)
			time.Sleep(50 * time.Hour)
			h.holds(t)
		})
	}
}

// A mirror that is wrong about where this host is makes a copy of its lease.
func TestHoldTakesItsLeaseBackFromAMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa")
		time.Sleep(time.Hour)
		copied := h.own
		copied.Mirror = "v3"
		store.force(copied, DefaultTTL)
		synctest.Wait()
		if now := h.holds(t); now.Mirror != "" {
			t.Errorf("the store has %+v", now)
		}
		h.wantStates(t, Held)
		h.want(t, "A mirror has made this host's lease a copy", 1)
		time.Sleep(50 * time.Hour)
		h.holds(t)
	})
}

func TestHoldTakesItsLeaseBackFromADuplicateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa")
		duplicate := h.own
		duplicate.V4.PublicIP = netip.MustParseAddr("192.0.2.66")
		time.Sleep(2 * time.Minute)
		store.force(duplicate, DefaultTTL)
		if l := h.holds(t); l.Node != "aaaa" {
			t.Errorf("the lease names node %q", l.Node)
		}
		time.Sleep(time.Hour)
		winner := store.force(duplicate, DefaultTTL)
		time.Sleep(time.Second)
		h.lost(t, winner)
		if !errors.Is(h.err, ErrDuplicate) {
			t.Errorf("Hold = %v", h.err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa") // it has only just begun: the duplicate was first
		duplicate := h.own
		duplicate.V4.PublicIP = netip.MustParseAddr("192.0.2.66")
		winner := store.force(duplicate, DefaultTTL)
		time.Sleep(time.Second)
		h.lost(t, winner)
	})
}

func TestHoldDeletesItsOwnLateLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := lease("10.1.9.0/24", me)
		late.Node = "aaaa"
		store := newFakeStore()
		h := holdingAs(t, store, "aaaa")
		time.Sleep(time.Minute)
		other, reserved, short := late, late, late
		other.Node, other.V4.Subnet = "bbbb", netip.MustParsePrefix("10.1.10.0/24")
		reserved.V4.Subnet = netip.MustParsePrefix("10.1.11.0/24")
		short.V4.Subnet = netip.MustParsePrefix("10.1.12.0/24")
		copied := late
		copied.Mirror, copied.V4.Subnet = "v2", netip.MustParsePrefix("10.1.13.0/24")
		store.force(late, DefaultTTL)
		store.force(other, DefaultTTL)
		store.force(copied, DefaultTTL)
		store.force(reserved, 0)
		store.force(short, 2*time.Hour) // another could have it before the delete arrives
		time.Sleep(20 * time.Second)
		h.holds(t)
		if _, ok := store.get(late.Key()); ok {
			t.Error("the late lease is still there")
		}
		for _, l := range []Lease{other, reserved, short, copied} {
			if _, ok := store.get(l.Key()); !ok {
				t.Errorf("%s was deleted", l.Key())
			}
		}
		h.want(t, "Deleted an unused lease of this host", 1)
	})
}

func TestHoldSurrendersItsKeyIfAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore(), func(h *Holding) { h.Surrender = true })
		time.Sleep(time.Minute)
		h.store.remove(h.own.Key())
		synctest.Wait()
		<-h.ended
		if !errors.Is(h.err, ErrLost) || h.store.count("create") != 1 {
			t.Errorf("Hold = %v after %d creates", h.err, h.store.count("create"))
		}
		h.wantStates(t, Held, Conflict)
	})
}

func TestHoldIsReboundUntilItsFirstRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore(), func(h *Holding) { h.Rebound = true })
		time.Sleep(time.Minute)
		h.wantStates(t, Rebound)
		time.Sleep(67 * time.Minute)
		h.wantStates(t, Rebound, Held)
	})
}

// A reservation has no deadline. When it becomes a lease again it has that of its
// key, not one of days ago.
func TestHoldKeepsWhatWasAReservationAndGetsATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reserved := lease("10.1.7.0/24", me)
		reserved.Expires = time.Time{}
		h := holding(t, newFakeStore(reserved))
		time.Sleep(100 * time.Hour)
		h.store.force(h.own, 10*time.Hour)
		if l := h.holds(t); l.Reserved() || time.Until(l.Expires) < 23*time.Hour {
			t.Errorf("not renewed: expires in %s", time.Until(l.Expires))
		}
		h.store.force(h.own, 0)
		time.Sleep(100 * time.Hour)
		h.store.hang(true)
		h.store.force(h.own, 10*time.Hour)
		time.Sleep(9 * time.Hour)
		h.wantStates(t, Held, AtRisk)
		time.Sleep(57 * time.Minute)
		h.wantStates(t, Held, AtRisk, Expired)
	})
}

// Who gives a lease less life moves its deadline too.
func TestHoldKnowsThatItsKeyWillExpireEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		h.store.hang(true)
		h.store.force(h.own, 30*time.Minute)
		time.Sleep(24 * time.Minute)
		h.wantStates(t, Held, AtRisk)
		time.Sleep(4 * time.Minute)
		h.wantStates(t, Held, AtRisk, Expired)
	})
}

// A host does not give a reservation up to a copy of itself either.
func TestHoldTakesAReservationBackFromADuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reserved := lease("10.1.7.0/24", me)
		reserved.Expires, reserved.Node = time.Time{}, "aaaa"
		store := newFakeStore(reserved)
		h := holdingAs(t, store, "aaaa")
		time.Sleep(100 * time.Hour)
		duplicate := h.own
		duplicate.V4.PublicIP = netip.MustParseAddr("192.0.2.66")
		store.force(duplicate, 0)
		if l := h.holds(t); !l.Reserved() {
			t.Errorf("given a TTL: expires %s", l.Expires)
		}
	})
}
