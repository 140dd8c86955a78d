package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
)

const (
	// healthy is the time that a watch must last for its failure to be a new trouble
	// and not the last one's continuation.
	healthy = time.Minute
	// relistedAgain is the time between two log lines that history has gone past a watch.
	relistedAgain = 30 * time.Second
	// followRetry is the longest pause between tries, a little more than the second
	// of all releases: what is written when the store is back is known two seconds
	// later.
	followRetry = 1500 * time.Millisecond
	// rush is the number of changes in one second that is too much for a watch. etcd's v2
	// API tells each with an answer of its own: when a thousand hosts start, a million of
	// them, 90 us each, would keep it from leasing subnets for more than a minute. One
	// list is worth about thirty.
	rush = 30
	// stale is the age at which a listing is made again, with as many leases as perHost,
	// and in proportion with more: so that all hosts together list no more often the more
	// there are. Watches tell all there is to tell, as far as we know: this bounds what a
	// mistake of ours, of etcd or of something between can do. One of a thousand leases
	// costs etcd 6 ms, so a thousand hosts cost it 0.3 % of a core.
	stale   = 30 * time.Minute
	perHost = 1000
)

// Follow keeps the View equal to the store's leases, from the revision on that the View
// holds, until ctx is done, and then returns nil. If no listing was the source of the
// View its revision is zero: then they are listed first. Whatever happens to the store,
// the View keeps what was known last: only an answer removes a lease.
func Follow(ctx context.Context, store Store, v *View, from Revision, log *slog.Logger) error {
	log.Info("Watching for new subnet leases")
	f := &follower{store: store, view: v, log: log, pause: backoff.Backoff{Max: followRetry}, relisted: logonce.Line{Repeat: relistedAgain},
		trouble: trouble{log: log, back: "etcd is back; subnet leases are read again"}}
	f.tell = time.AfterFunc(together, func() {
		if n := v.Lost(); n > 0 {
			log.Warn("etcd has lost leases that nobody gave up; their hosts are kept until the leases would have ended", "hosts", n)
		}
	})
	defer f.tell.Stop()
	f.lost = v.Lost()
	var said string
	var err error
	for listed := from > 0; ctx.Err() == nil; listed = true {
		if listed {
			began := time.Now()
			said, err = f.ended(ctx, f.watch(ctx, from), time.Since(began))
		}
		from = f.list(ctx, said, err)
	}
	return nil
}

// follower is the state of Follow.
type follower struct {
	store   Store
	view    *View
	log     *slog.Logger
	trouble trouble
	pause   backoff.Backoff

	relisted logonce.Line // that history has gone
	again    bool         // the last watch ended at once, since history had gone

	lost int         // how many peers are kept
	tell *time.Timer // tells of them
}

const unreachable = "Watch of subnet leases failed, etcd unreachable; traffic goes on with what is known"

// ended decides what the end of a watch means that has lasted for so long. If it is a
// trouble, it returns the error and what to say.
func (f *follower) ended(ctx context.Context, err error, lasted time.Duration) (said string, _ error) {
	if lasted >= healthy {
		f.pause.Reset()
	}
	again := f.again
	f.again = errors.Is(err, ErrCompacted) && lasted < time.Second
	switch {
	case err == nil || ctx.Err() != nil:
		return "", nil
	case f.again && again:
		return "Watch of subnet leases fails each time it starts; listing all leases again and again", err
	case errors.Is(err, ErrCompacted):
		// A busy store does this at any time, and the answer is there at once.
		if f.relisted.Changed("history has gone") {
			f.log.Info(fmt.Sprintf("Watch of subnet leases failed because %v; listing again", err))
		}
		return "", nil
	}
	return unreachable, err
}

// list lists all leases, and tries until it can or ctx is done. It returns their
// revision. If there is an error already, it says so and waits first.
func (f *follower) list(ctx context.Context, said string, err error) Revision {
	for ctx.Err() == nil {
		if err != nil {
			f.trouble.failed(said, "err", err)
			_ = f.pause.Wait(ctx) // its error is that of ctx, which the store returns, too
		}
		leases, rev, failed := f.store.Leases(ctx)
		if failed == nil {
			f.view.Reset(Snapshot{leases, rev})
			f.trouble.over()
			f.countLost()
			return rev
		}
		said, err = unreachable, failed
	}
	return 0
}

// watch applies events until one is an error, which it returns. It returns nil when it is
// time to list instead: the last listing is old, or there are too many events.
func (f *follower) watch(ctx context.Context, from Revision) error {
	var second time.Time // when the one that is counted began
	n := 0
	bound, cancel := context.WithTimeout(ctx, age(f.view.count()))
	defer cancel()
	for e, err := range f.store.Watch(bound, from) {
		switch {
		case bound.Err() != nil && err != nil:
			return nil
		case err != nil:
			return err
		}
		f.view.Apply(e)
		f.countLost()
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, n = now, 0
		}
		if n++; n == rush {
			break
		}
	}
	if n < rush {
		return errors.New("the watch ended")
	}
	// At different times, or all hosts would list at once.
	_ = backoff.Sleep(ctx, time.Second+rand.N(time.Second)) // its error is that of ctx, which is looked at
	return nil
}

// countLost tells when the store has lost more leases that the View keeps, once for all
// that go together.
func (f *follower) countLost() {
	before := f.lost
	if f.lost = f.view.Lost(); f.lost > before {
		f.tell.Reset(together)
	}
}

// age returns how old a listing of so many leases may become: not the same for all
// hosts, or they would list together.
func age(leases int) time.Duration {
	d := stale * time.Duration(max(leases, perHost)) / perHost
	return d - d/4 + rand.N(d/2)
}
