package subnet

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/wake"
)

// following runs Follow on a View that has the store's leases already.
func following(t *testing.T, store *fakeStore) (*View, *logs) {
	t.Helper()
	l, v := &logs{}, NewView()
	leases, rev, err := store.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.Reset(Snapshot{leases, rev})
	followFrom(t, store, v, rev, l)
	return v, l
}

func followFrom(t *testing.T, store *fakeStore, v *View, rev Revision, l *logs) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Follow(ctx, store, v, rev, l.logger()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
	synctest.Wait()
}

// What a View was given that is not of this store's history is not what events can
// be applied to.
func TestFollowListsFirstWhatWasNeverListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, v, l := newFakeStore(lease("10.1.1.0/24", "192.0.2.1", "new")), NewView(), &logs{}
		kept := []Lease{lease("10.1.1.0/24", "192.0.2.1", "old"), lease("10.1.2.0/24", "192.0.2.2")}
		for i := range kept {
			kept[i].Rev = 1_000_000 // of a store that was wiped since
		}
		v.Reset(Snapshot{Leases: kept})
		store.setDown(errDown)
		followFrom(t, store, v, 0, l)
		time.Sleep(time.Minute)
		if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24" {
			t.Errorf("leases %q while the store is away", got)
		}
		l.want(t, "etcd unreachable", 1)
		store.setDown(nil)
		time.Sleep(followRetry)
		if got, _, _ := v.at(key("10.1.1.0/24")); subnets(v) != "10.1.1.0/24 10.1.2.0/24" || v.Lost() != 1 || got.V4.Data != quoted("new") {
			t.Errorf("leases are %v", v.Leases())
		}
		l.want(t, "etcd is back", 1)
		store.force(lease("10.1.3.0/24", "192.0.2.3"), DefaultTTL)
		synctest.Wait()
		if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24" {
			t.Errorf("leases %q after one more", got)
		}
	})
}

func TestFollowKeepsLostPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"))
		v, l := following(t, store)
		v.hold(key("10.1.1.0/24"), "")
		store.setDown(errDown)
		time.Sleep(time.Minute)
		store.remove(key("10.1.1.0/24"))
		store.remove(key("10.1.2.0/24"))
		store.setDown(nil)
		time.Sleep(10 * time.Second)
		l.want(t, "etcd has lost leases that nobody gave up", 1)
		time.Sleep(DefaultTTL - 2*time.Minute)
		if got := subnets(v); got != "10.1.2.0/24" {
			t.Errorf("leases %q before that one would have ended", got)
		}
		time.Sleep(2 * time.Minute)
		if got := subnets(v); got != "" {
			t.Errorf("leases %q after that", got)
		}
		l.want(t, "etcd has lost leases that nobody gave up", 1)
	})
}

// What expires one after another while this host's lease cannot be renewed, since etcd was
// away for so long, is kept until its host can have written it again, and no longer.
func TestFollowForgetsEachPeerInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"))
		store.force(lease("10.1.2.0/24", "192.0.2.2"), 2*time.Minute)
		store.force(lease("10.1.3.0/24", "192.0.2.3"), 4*time.Minute)
		v, _ := following(t, store)
		v.hold(key("10.1.1.0/24"), "")
		v.ownAtRisk(true)
		began := time.Now()
		for _, step := range []struct {
			expires     time.Duration
			kept, after string
		}{
			{2 * time.Minute, "10.1.1.0/24 10.1.2.0/24 10.1.3.0/24", "10.1.1.0/24 10.1.3.0/24"},
			{4 * time.Minute, "10.1.1.0/24 10.1.3.0/24", "10.1.1.0/24"},
		} {
			time.Sleep(time.Until(began.Add(step.expires + lostGrace - time.Second)))
			if got := subnets(v); got != step.kept {
				t.Errorf("leases %q before the grace is over, want %q", got, step.kept)
			}
			time.Sleep(2 * time.Second)
			if got := subnets(v); got != step.after {
				t.Errorf("leases %q after it, want %q", got, step.after)
			}
		}
	})
}

// Listing again, as a busy store makes all do, is no news of what it has lost.
func TestFollowForgetsWhatWasLostHoweverOftenItLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"))
		store.force(lease("10.1.2.0/24", "192.0.2.2"), 2*time.Minute)
		v, l := following(t, store)
		v.hold(key("10.1.1.0/24"), "")
		defer v.release()
		time.Sleep(time.Minute)
		store.wipe()
		for range 10 {
			time.Sleep(5 * time.Second)
			store.compact()
			store.compact()
		}
		if got := subnets(v); got != "10.1.2.0/24" {
			t.Errorf("leases %q while that one would be there", got)
		}
		time.Sleep(11 * time.Second)
		l.want(t, "etcd has lost leases that nobody gave up", 1)
		if got := subnets(v); got != "" {
			t.Errorf("leases %q long after the grace", got)
		}
	})
}

// What no watch has told, by whomever's mistake, is known after a while all the same,
// and without a word. The more leases there are the later, or etcd would be busy with
// nothing else.
func TestFollowListsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"))
		v, l := following(t, store)
		store.mute = key("10.1.2.0/24")
		store.force(lease("10.1.2.0/24", "192.0.2.2"), 0)
		time.Sleep(stale / 2)
		if got := subnets(v); got != "10.1.1.0/24" {
			t.Errorf("leases %q too early", got)
		}
		time.Sleep(stale)
		if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24" {
			t.Errorf("leases %q", got)
		}
		before := store.count("list")
		time.Sleep(24 * time.Hour)
		if n := store.count("list") - before; n < 30 || n > 70 {
			t.Errorf("%d lists in a day, want about 48", n)
		}
		if n := l.lines(""); n != 1 {
			t.Errorf("%d lines, want one at the start:\n%s", n, l)
		}
	})
	for range 100 {
		if a, b := age(1), age(10*perHost); a < stale/2 || a > 2*stale || b < 5*stale || b > 20*stale {
			t.Fatalf("a listing of one lease is good for %v, one of 10,000 for %v", a, b)
		}
	}
}

func TestFollowKeepsTheViewInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2", "a"))
		v, l := following(t, store)
		c := wake.New()
		v.Subscribe(c)
		time.Sleep(time.Hour)
		store.setDown(errDown)
		for range 14 {
			time.Sleep(time.Minute)
			if n := len(v.Leases()); n != 2 {
				t.Fatalf("%d leases in the outage, want 2", n)
			}
		}
		l.want(t, "etcd unreachable", 3) // at 0, 5 and 10 minutes
		if signalled(c) {
			t.Error("an outage is no change")
		}
		store.force(lease("10.1.2.0/24", "192.0.2.2", "b"), DefaultTTL)
		store.remove(key("10.1.1.0/24"))
		store.setDown(nil)
		time.Sleep(10 * time.Second)
		if got, _, _ := v.at(key("10.1.2.0/24")); got.V4.Data != quoted("b") || len(v.Leases()) != 1 || !signalled(c) {
			t.Errorf("what changed in the outage was missed: %v", v.Leases())
		}
		l.want(t, "etcd is back", 1)
	})
}

func TestFollowListsAgainWhenHistoryIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"))
		v, l := following(t, store)
		time.Sleep(time.Minute)
		store.compact()
		synctest.Wait() // at once: no time passes
		store.force(lease("10.1.2.0/24", "192.0.2.2"), DefaultTTL)
		synctest.Wait()
		if n := len(v.Leases()); n != 2 {
			t.Errorf("%d leases, want 2", n)
		}
		l.want(t, "Watch of subnet leases failed because etcd index outside history window", 1)
		l.want(t, "level=ERROR", 0)
	})
}

// The directory of the leases may be deleted in a watch's first second.
func TestFollowListsAgainAtOnceHoweverShortTheWatchWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"))
		v, l := following(t, store)
		store.compact()
		store.force(lease("10.1.2.0/24", "192.0.2.2"), DefaultTTL)
		synctest.Wait() // at once: no time passes
		if n := len(v.Leases()); n != 2 {
			t.Errorf("%d leases, want 2", n)
		}
		l.want(t, "Watch of subnet leases failed because etcd index outside history window", 1)
		l.want(t, "level=ERROR", 0)
		// A store that does this each time is in trouble, and is not asked without a pause.
		for range 10 {
			store.compact()
			synctest.Wait()
		}
		l.want(t, "unreachable", 0)
		l.want(t, "fails each time it starts", 1)
		l.want(t, "level=INFO msg=\"Watch of subnet leases failed because", 1)
	})
}

func TestFollowSurvivesAWipedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.1"), lease("10.1.2.0/24", "192.0.2.2"))
		v, _ := following(t, store)
		time.Sleep(time.Minute)
		store.wipe(lease("10.1.9.0/24", "192.0.2.9"))
		time.Sleep(10 * time.Second)
		if got := subnets(v); got != "10.1.1.0/24 10.1.2.0/24 10.1.9.0/24" || v.Lost() != 2 {
			t.Errorf("View after the wipe: %s, %d of them lost", got, v.Lost())
		}
	})
}

// A store that lists and whose watch always fails must not fill the disk.
func TestFollowLogsAFlappingStoreAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		_, l := following(t, store)
		for range 600 {
			store.setDown(errDown)
			time.Sleep(time.Second)
			store.setDown(nil)
			time.Sleep(5 * time.Second)
		}
		if n := l.lines("level="); n > 30 || n < 12 {
			t.Errorf("%d lines in an hour of flapping", n)
		}
	})
}

// Whatever happens, the View ends up as the store is.
func TestFollowConverges(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			store := newFakeStore()
			v, _ := following(t, store)
			for range 300 {
				p := fmt.Sprintf("10.1.%d.0/24", rnd.IntN(20))
				switch rnd.IntN(12) {
				case 0:
					store.setDown(errDown)
				case 1, 2:
					store.setDown(nil)
				case 3:
					store.compact()
				case 4, 5:
					if _, ok := store.get(key(p)); ok {
						store.remove(key(p))
					}
				case 6:
					time.Sleep(time.Duration(rnd.IntN(10)) * time.Second)
				default:
					store.force(lease(p, fmt.Sprintf("192.0.2.%d", rnd.IntN(9)), fmt.Sprint(rnd.IntN(3))), time.Duration(1+rnd.IntN(60))*time.Second)
				}
			}
			store.setDown(nil)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			all := v.Leases()
			if len(all) != len(store.all()) {
				t.Errorf("seed %d: %d leases in the View, %d in the store", seed, len(all), len(store.all()))
			}
			for _, l := range all {
				if have, _ := store.get(l.Key()); have != l {
					t.Errorf("seed %d: View has %v, store has %v", seed, l, have)
				}
			}
		})
	}
}

// The place of a line is where the trouble was met, not who repeats it.
func TestTroubleLogsItsCallersPlace(t *testing.T) {
	var buf bytes.Buffer
	tr := trouble{log: slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{AddSource: true}))}
	tr.failed("it is away", "err", errDown)
	_, _, here, _ := runtime.Caller(0)
	for _, want := range []string{`follow_test.go","line":` + fmt.Sprint(here-1), `"msg":"it is away","err":"` + errDown.Error(), `"for":0`} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%s lacks %s", &buf, want)
		}
	}
}
