package subnet

import (
	"context"
	"errors"
	"strings"
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
	renewed []Lease
	asked   chan func()
}

// holding acquires a lease from the store and holds it until the test ends.
func holding(t *testing.T, store *fakeStore) *holder {
	t.Helper()
	h := &holder{logs: &logs{}, store: store, view: NewView(), ended: make(chan struct{}), asked: make(chan func())}
	own, seen, err := Acquire(t.Context(), store, request("10.1.7.0/24"), h.logger())
	if err != nil {
		t.Fatal(err)
	}
	h.own = own
	h.view.Reset(seen)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() { defer close(followed); _ = Follow(ctx, store, h.view, seen.Rev, h.logger()) }()
	go func() {
		defer close(h.ended)
		h.err = Hold(ctx, store, own, Holding{View: h.view, Log: h.logger(), Asked: h.asked, Renewed: func(l Lease) { h.renewed = append(h.renewed, l) }})
	}()
	t.Cleanup(func() {
		cancel()
		<-followed
		<-h.ended
		if h.err != nil && !errors.Is(h.err, ErrLost) {
			t.Errorf("Hold: %v", h.err)
		}
		if n := len(h.view.subs); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
	synctest.Wait()
	return h
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

func TestHoldRenewsForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		start := time.Now()
		time.Sleep(23*time.Hour - time.Second)
		if n := h.store.count("renew"); n != 0 {
			t.Errorf("renewed %d times before it was due", n)
		}
		time.Sleep(2 * time.Second)
		if l := h.holds(t); !l.Expires.Equal(start.Add(47 * time.Hour)) {
			t.Errorf("expires %s after the start, want 47h", l.Expires.Sub(start))
		}
		h.want(t, "Lease renewed, new expiration: "+start.Add(47*time.Hour).UTC().Format(time.RFC3339), 1)
		time.Sleep(10 * 23 * time.Hour)
		h.holds(t)
		if n := h.store.count("renew"); n != 11 || len(h.renewed) != 11 {
			t.Errorf("%d renewals and %d calls in 11 periods", n, len(h.renewed))
		}
		h.want(t, "Waiting for 23h0m0s to renew lease", 12)
	})
}

func TestHoldRenewsMarginBeforeTheExpiryAndNeverLater(t *testing.T) {
	for _, tt := range []struct{ ttl, margin, since, want time.Duration }{
		{ttl: 24 * time.Hour, margin: 1439 * time.Minute, want: time.Minute},
		{ttl: time.Hour, margin: 10 * time.Minute, since: 20 * time.Minute, want: 30 * time.Minute},
		{ttl: time.Hour, margin: 10 * time.Minute, since: 55 * time.Minute, want: 0},
		{ttl: time.Hour, margin: 2 * time.Hour, want: 30 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore()
			own, _ := store.Create(t.Context(), lease("10.1.7.0/24", me), tt.ttl)
			start, at := time.Now(), time.Duration(-1)
			ctx, cancel := context.WithTimeout(t.Context(), tt.ttl)
			defer cancel()
			err := Hold(ctx, store, own, Holding{TTL: tt.ttl, Margin: tt.margin, Since: start.Add(-tt.since), View: NewView(),
				Log: new(logs).logger(), Renewed: func(Lease) { at = time.Since(start); cancel() }})
			if err != nil || at != tt.want {
				t.Errorf("TTL %s, margin %s, written %s ago: renewed after %s, %v; want %s", tt.ttl, tt.margin, tt.since, at, err, tt.want)
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
		if n := h.lines("Error renewing lease (trying again in "); n < 45 || n > 60 {
			t.Errorf("%d lines in 4 hours of failures, want one each 5 minutes", n)
		}
		if n := h.store.count("renew"); n < 180 {
			t.Errorf("only %d tries in 4 hours", n)
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
		time.Sleep(1000 * time.Hour)
		if l := h.holds(t); !l.Reserved() || h.store.count("renew") != acquired {
			t.Errorf("reservation was renewed: %v", l)
		}
		h.store.remove(h.own.Key())
		if l := h.holds(t); !l.Reserved() {
			t.Errorf("reservation was given a TTL: expires %s", l.Expires)
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

func TestHoldTakesAGoneKeyBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		time.Sleep(time.Hour)
		start := time.Now()
		for range 3 {
			h.store.remove(h.own.Key())
			h.holds(t)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("took %s", waited)
		}
		h.want(t, "Lease has gone from etcd", 3)
		time.Sleep(23*time.Hour + time.Second)
		h.holds(t)
		if n := h.store.count("renew"); n != 1 {
			t.Errorf("%d renewals, want 1", n)
		}
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
			time.Sleep(30 * time.Hour)
			s.setDown(nil)
			return l
		}, 2 * time.Minute},
		{"wiped and taken at a lower revision", func(s *fakeStore) Lease {
			s.wipe(stranger)
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
			err := Hold(ctx, store, own, Holding{View: NewView(), Log: new(logs).logger()})
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
		twin := lease("10.1.7.0/24", me, "theirs")
		for range 60 {
			time.Sleep(time.Minute)
			h.store.force(twin, DefaultTTL)
		}
		synctest.Wait()
		if l, _ := h.store.get(h.own.Key()); l.V4.Data != "theirs" || h.store.count("renew") != 0 {
			t.Errorf("fought: the store has %v after %d renewals", l, h.store.count("renew"))
		}
		n := h.lines("Another host publishes our PublicIP")
		if n < 1 || n > 13 {
			t.Errorf("%d lines about the twin in an hour, want at most one each 5 minutes", n)
		}
		for _, part := range []string{"theirs=\"vxlan theirs\"", "ours=\"vxlan new\"", "subnet=10.1.7.0/24", "--public-ip or --iface"} {
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
		h.store.mu.Lock()
		h.store.late = context.DeadlineExceeded
		h.store.mu.Unlock()
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
		h.store.mu.Lock()
		h.store.late = context.DeadlineExceeded
		h.store.mu.Unlock()
		h.store.remove(h.own.Key())
		time.Sleep(10 * time.Second)
		h.holds(t)
		time.Sleep(240 * time.Hour)
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
		if n := h.store.count("create"); n != 1 || len(h.renewed) != 1 {
			t.Errorf("%d creates, %d renewals: the key was allowed to expire", n, len(h.renewed))
		}
	})
}

// A key that exists and is no lease can neither be created nor seen.
func TestHoldIsPatientWithAKeyThatIsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := holding(t, newFakeStore())
		h.store.mu.Lock()
		h.store.junk[h.own.Key()] = true
		h.store.mu.Unlock()
		h.store.remove(h.own.Key())
		time.Sleep(time.Hour)
		if n := h.store.count("create"); n > 150 {
			t.Errorf("%d creates in an hour", n)
		}
		if n := h.lines("its key holds what is no lease"); n < 10 || n > 13 {
			t.Errorf("%d lines in an hour, want one each 5 minutes", n)
		}
		h.store.mu.Lock()
		delete(h.store.junk, h.own.Key())
		h.store.mu.Unlock()
		time.Sleep(2 * time.Minute)
		h.holds(t)
	})
}
