package status

import (
	"context"
	"errors"
	"iter"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Observe returns the store, and has the Board know of each request how it ended.
func Observe(s subnet.Store, b *Board) subnet.Store { return observed{s, b} }

type observed struct {
	subnet.Store
	board *Board
}

// begin returns what takes note of a request's end. That is no news if its context has
// ended.
func (o observed) begin(ctx context.Context, operation string) (end func(error)) {
	start := time.Now()
	return func(err error) {
		if ctx.Err() == nil {
			asked(o.board, operation, err, time.Since(start))
		}
	}
}

// answered reports whether an error is an answer.
func answered(err error) bool {
	return err == nil || errors.Is(err, config.ErrNone) || errors.Is(err, subnet.ErrTaken) || errors.Is(err, subnet.ErrLost) ||
		errors.Is(err, subnet.ErrCompacted)
}

// asked takes note of a request to etcd. One that waits for a change is not timed.
func asked(b *Board, operation string, err error, took time.Duration) {
	b.change(func(now time.Time) {
		outcome := "ok"
		switch {
		case !answered(err):
			outcome = "error"
		case err != nil:
			outcome = "refused"
		}
		b.tally.count("etcd_requests", "operation", operation, "result", outcome)
		if operation != "await_config" && operation != "watch" {
			b.tally.time("etcd_request_duration", took, "operation", operation)
		}
		noteEtcd(b, now, err)
		switch operation {
		case "renew", "refresh":
			b.tally.count("lease_renewals", "result", outcome)
		case "leases":
			if b.now.Etcd.WatchFailing = !answered(err); err == nil {
				b.now.Etcd.LastListing = now
			}
		}
	})
}

// noteEtcd takes note of an answer, or of an error that is none. It needs the Board's lock.
func noteEtcd(b *Board, now time.Time, err error) {
	e := &b.now.Etcd
	if answered(err) {
		e.LastAnswer = now
		b.set(now, "etcd", &e.Condition, OK, "")
		return
	}
	e.LastError, e.LastErrorTime = clip(err.Error()), now
	b.set(now, "etcd", &e.Condition, Failing, e.LastError)
}

// Config implements subnet.Store, as do all that follow.
func (o observed) Config(ctx context.Context) (config.Document, error) {
	end := o.begin(ctx, "config")
	doc, err := o.Store.Config(ctx)
	end(err)
	return doc, err
}

func (o observed) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	end := o.begin(ctx, "await_config")
	doc, err := o.Store.AwaitConfig(ctx, after)
	end(err)
	return doc, err
}

func (o observed) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	end := o.begin(ctx, "leases")
	leases, rev, err := o.Store.Leases(ctx)
	end(err)
	return leases, rev, err
}

// Watch counts why each watch ends: all leases are read again then.
func (o observed) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		end := o.begin(ctx, "watch")
		reason := "ended"
		defer func() { resync(ctx, o.board, reason) }()
		for e, err := range o.Store.Watch(ctx, after) {
			switch {
			case errors.Is(err, subnet.ErrCompacted):
				reason = "compacted"
			case err != nil:
				reason = "error"
			}
			if err != nil {
				end(err)
			} else {
				heard(o.board)
			}
			if !yield(e, err) {
				if err == nil {
					reason = "burst" // of events: a listing is cheaper
				}
				return
			}
		}
	}
}

// heard takes note of an event.
func heard(b *Board) {
	b.change(func(now time.Time) {
		noteEtcd(b, now, nil)
		b.now.Etcd.WatchFailing, b.now.Etcd.LastChange = false, now
		b.tally.count("watch_events")
	})
}

// resync takes note of the end of a watch.
func resync(ctx context.Context, b *Board, reason string) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if ctx.Err() != nil {
		reason = "age" // of the last listing
	}
	b.change(func(time.Time) {
		b.tally.count("watch_resyncs", "reason", reason)
		b.now.Etcd.WatchFailing = b.now.Etcd.WatchFailing || reason == "error"
	})
}

func (o observed) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	end := o.begin(ctx, "create")
	l, err := o.Store.Create(ctx, l, ttl)
	end(err)
	return l, err
}

func (o observed) Renew(ctx context.Context, was, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	end := o.begin(ctx, "renew")
	l, err := o.Store.Renew(ctx, was, l, ttl)
	end(err)
	return l, err
}

func (o observed) Refresh(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, bool, error) {
	end := o.begin(ctx, "refresh")
	l, quiet, err := o.Store.Refresh(ctx, l, ttl)
	end(err)
	return l, quiet, err
}

func (o observed) Delete(ctx context.Context, l subnet.Lease) error {
	end := o.begin(ctx, "delete")
	err := o.Store.Delete(ctx, l)
	end(err)
	return err
}
