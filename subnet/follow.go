package subnet

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
)

// reminder is how often a trouble that lasts is logged again.
const reminder = 5 * time.Minute

// Follow keeps the View equal to the store's leases, from the revision on that
// the View holds, until ctx is done. Whatever happens to the store the View
// keeps what was known last.
func Follow(ctx context.Context, store Store, v *View, from Revision, log *slog.Logger) error {
	log.Info("Watching for new subnet leases")
	t := trouble{log: log, what: "Watch of subnet leases failed"}
	var pause backoff.Backoff
	for {
		started := time.Now()
		err := watch(ctx, store, v, from)
		for ctx.Err() == nil {
			if errors.Is(err, ErrCompacted) {
				log.Info("Watch of subnet leases failed because etcd index outside history window; listing again")
			} else {
				t.failed(err)
				if time.Since(started) > time.Minute {
					pause.Reset()
				}
				if pause.Wait(ctx) != nil {
					break
				}
			}
			var leases []Lease
			if leases, from, err = store.Leases(ctx); err == nil {
				v.Reset(Snapshot{leases, from})
				t.over()
				break
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// watch applies events until one is an error.
func watch(ctx context.Context, store Store, v *View, from Revision) error {
	for e, err := range store.Watch(ctx, from) {
		if err != nil {
			return err
		}
		v.Apply(e)
	}
	return errors.New("the watch ended")
}

// trouble logs an outage once when it begins, now and then while it lasts, and
// when it is over.
type trouble struct {
	log   *slog.Logger
	what  string
	since time.Time // zero: there is none
	said  time.Time
}

func (t *trouble) failed(err error) {
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	if t.said.IsZero() || now.Sub(t.said) >= reminder {
		t.said = now
		t.log.Error(t.what+"; trying again", "err", err, "for", now.Sub(t.since).Round(time.Second))
	}
}

func (t *trouble) over() {
	if !t.since.IsZero() {
		t.log.Info("etcd answers again", "after", time.Since(t.since).Round(time.Millisecond))
	}
	t.since, t.said = time.Time{}, time.Time{}
}
