package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"flanneld/pkg/backoff"
)

const (
	// reminder is how often a trouble that lasts is logged again.
	reminder = 5 * time.Minute
	// settled is how long a trouble that comes back soon must last to be worth
	// a line before the reminder.
	settled = 10 * time.Second
	// healthy is how long a watch must have lasted for the next failure to be
	// one of its own and not the last one's continuation.
	healthy = time.Minute
	// relistedAgain is how often it is logged that history has gone past a watch.
	relistedAgain = 30 * time.Second
	// followRetry is the longest pause between tries, a little more than the second
	// of all releases: what is written when the store is back is known two seconds
	// later.
	followRetry = 1500 * time.Millisecond
	// lostGrace is how long peers are kept that the store has lost together with
	// this host's own lease, or by going back to a backup: every host that is there has written its own again by
	// then. Those of other releases do when they are restarted, which their units
	// do at once.
	lostGrace = 30 * time.Second
	// rush is how many changes in one second are more than a watch is good for.
	// etcd's v2 API tells each with an answer of its own: when a thousand hosts
	// start, a million of them, 90 us each, would keep it from leasing subnets for
	// more than a minute. One list is worth about thirty.
	rush = 30
)

// stale is how old a listing may become, with as many leases as perHost, and in
// proportion with more: so that all hosts together list no more often the more there
// are. Watches tell all there is to tell, as far as we know: this bounds what a mistake of
// ours, of etcd or of something between can do. One of a thousand leases costs etcd
// 6 ms, so a thousand hosts cost it 0.3 % of a core.
const (
	stale   = 30 * time.Minute
	perHost = 1000
)

// errStale: the listing is old.
var errStale = errors.New("the listing is old")

// errRush: there are so many changes that listing later tells them at less cost.
var errRush = errors.New("many leases change at once")

const unreachable = "Watch of subnet leases failed, etcd unreachable; traffic goes on with what is known"

// Follow keeps the View equal to the store's leases, from the revision on that
// the View holds, until ctx is done, and then returns nil. A View that no listing
// was the source of has revision zero: then they are listed first. Whatever happens
// to the store, the View keeps what was known last: only an answer removes a
// lease.
func Follow(ctx context.Context, store Store, v *View, from Revision, log *slog.Logger) error {
	log.Info("Watching for new subnet leases")
	t := trouble{log: log, back: "etcd is back; subnet leases are read again"}
	pause := backoff.Backoff{Max: followRetry}
	var due atomic.Bool // forget is
	due.Store(v.Lost() > 0)
	forget := time.AfterFunc(lostGrace, func() {
		due.Store(false)
		v.Forget()
	})
	defer forget.Stop()
	listed := from > 0
	lost := func(n int) {
		log.Warn("etcd has lost leases that nobody gave up; going on with those hosts as they were until they register again",
			"hosts", n, "for", lostGrace)
		due.Store(true)
		forget.Reset(lostGrace)
	}
	var relisted time.Time // when that was last logged
	again := false         // the last watch ended at once, for the want of events
	for {
		var err error
		started := time.Now()
		if listed {
			err = watch(ctx, store, v, from, func() {
				if n := v.Lost(); n > 0 && !due.Load() {
					lost(n)
				}
			})
		}
		listed = true
		lasted := time.Since(started)
		if lasted >= healthy {
			pause.Reset()
		}
		if errors.Is(err, errRush) {
			// At different times, or all hosts would list at once.
			_ = backoff.Sleep(ctx, time.Second+rand.N(time.Second)) // its error is that of ctx, which is looked at
			err = nil
		}
		if errors.Is(err, errStale) {
			err = nil
		}
		cleared := errors.Is(err, ErrCompacted)
		said := unreachable
		if cleared && (lasted >= time.Second || !again) {
			// A busy store does this at any time, and the answer is there at once.
			if started.Sub(relisted) >= relistedAgain {
				log.Info(fmt.Sprintf("Watch of subnet leases failed because %v; listing again", err))
				relisted = time.Now()
			}
			err = nil
		} else if cleared {
			said = "Watch of subnet leases fails each time it begins; listing again and again"
		}
		again = cleared && lasted < time.Second
		for ctx.Err() == nil {
			if err != nil {
				t.failed(said, "err", err)
				if pause.Wait(ctx) != nil {
					break
				}
			}
			said = unreachable
			var leases []Lease
			if leases, from, err = store.Leases(ctx); err == nil {
				before := v.Lost()
				v.Reset(Snapshot{leases, from})
				t.over()
				if n := v.Lost(); n > before { // the same ones are no reason to wait longer
					lost(n)
				}
				break
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// watch applies events until one is an error, or there are too many. Applied is called
// after each.
func watch(ctx context.Context, store Store, v *View, from Revision, applied func()) error {
	var second time.Time // when the one that is counted began
	n := 0
	ctx, cancel := context.WithTimeoutCause(ctx, age(v.count()), errStale)
	defer cancel()
	for e, err := range store.Watch(ctx, from) {
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		v.Apply(e)
		applied()
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, n = now, 0
		}
		if n++; n == rush {
			return errRush
		}
	}
	return errors.New("the watch ended")
}

// age returns how old a listing of so many leases may become: not the same for all
// hosts, or they would list together.
func age(leases int) time.Duration {
	d := stale * time.Duration(max(leases, perHost)) / perHost
	return d - d/4 + rand.N(d/2)
}

// trouble logs an outage when it begins, at each reminder while it lasts, and
// when it is over. One that comes and goes is logged as often as one that lasts.
type trouble struct {
	log   *slog.Logger
	back  string    // what is said when it is over; empty: nothing
	since time.Time // zero: there is none
	said  time.Time // when it, or the one before, was last logged
	told  bool      // this one was logged
}

// failed logs with its caller as the place.
func (t *trouble) failed(msg string, args ...any) {
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	lasts := now.Sub(t.since)
	if t.said.IsZero() || now.Sub(t.said) >= reminder || !t.told && lasts >= settled {
		t.said, t.told = now, true
		t.error(now, msg, append(args, "for", lasts.Round(time.Second)))
	}
}

// error is called by failed alone.
func (t *trouble) error(now time.Time, msg string, args []any) {
	var caller [1]uintptr
	runtime.Callers(3, caller[:]) // not Callers, nor this method, nor failed
	r := slog.NewRecord(now, slog.LevelError, msg, caller[0])
	r.Add(args...)
	ctx := context.Background()
	if h := t.log.Handler(); h.Enabled(ctx, r.Level) {
		_ = h.Handle(ctx, r)
	}
}

func (t *trouble) over() {
	if t.told && t.back != "" {
		t.log.Info(t.back, "after", time.Since(t.since).Round(time.Millisecond))
	}
	t.since, t.told = time.Time{}, false
}
