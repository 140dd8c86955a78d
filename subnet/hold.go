package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
)

// Holding says how a lease is held.
type Holding struct {
	TTL    time.Duration // zero: DefaultTTL
	Margin time.Duration // how long before the expiry it is renewed; zero: an hour
	View   *View         // followed by somebody else
	Log    *slog.Logger
}

const (
	defaultMargin = time.Hour
	renewRetry    = time.Minute // the longest pause between tries to renew
)

// Hold keeps a lease until ctx is done, and then returns nil. A reservation is
// only watched. If the key goes away it is created again at once. It returns
// ErrLost, and has not touched the key, if another host has it.
func Hold(ctx context.Context, store Store, l Lease, h Holding) error {
	if h.TTL == 0 {
		h.TTL = DefaultTTL
	}
	if h.Margin == 0 {
		h.Margin = defaultMargin
	}
	k := keeper{Holding: h, store: store, lease: l, due: renewal(time.Now(), h),
		trouble: trouble{log: h.Log, what: "Error renewing lease"},
		pause:   backoff.Backoff{Min: time.Second, Max: renewRetry}}
	changed := h.View.Subscribe()
	k.announce()
	for {
		if err := k.check(ctx); err != nil {
			return err
		}
		timer := time.NewTimer(time.Until(k.due))
		if k.lease.Reserved() {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case <-timer.C:
			if err := k.renew(ctx); err != nil {
				return err
			}
		}
		timer.Stop()
	}
}

// keeper is the state of Hold.
type keeper struct {
	Holding
	store   Store
	lease   Lease     // as last written or read
	due     time.Time // of the next renewal, by the local clock
	seen    bool      // the View has had our key
	rival   Lease     // the claim on our key that was complained about
	trouble trouble
	pause   backoff.Backoff
}

// renewal returns when to renew what was written at the given time. It goes by
// the time of sending and not by the server's clock, so it is never too late.
func renewal(sent time.Time, h Holding) time.Time {
	return sent.Add(max(h.TTL-h.Margin, h.TTL/2))
}

func (k *keeper) announce() {
	if !k.lease.Reserved() {
		k.Log.Info(fmt.Sprintf("Waiting for %s to renew lease", time.Until(k.due).Round(time.Second)))
	}
}

// check compares what the View has under our key with what we wrote.
func (k *keeper) check(ctx context.Context) error {
	now, ok := k.View.Get(k.lease.Key())
	switch {
	case !ok && !k.seen:
		return nil // our own write is still on its way
	case !ok:
		return k.recreate(ctx)
	}
	k.seen = true
	return k.compare(now)
}

func (k *keeper) compare(now Lease) error {
	switch {
	case now.Rev < k.lease.Rev:
		return nil // older than what we wrote
	case now.V4.PublicIP != k.lease.V4.PublicIP:
		return fmt.Errorf("%w: %s is leased to %s now", ErrLost, k.lease.Key(), now.V4.PublicIP)
	case now.SameClaim(k.lease):
		k.lease = now
		return nil
	}
	// Somebody with our address writes our key. Writing it back at once would
	// start a fight that neither wins.
	if !k.rival.SameClaim(now) {
		k.rival = now
		k.Log.Error("Another host publishes the same PublicIP as this one; traffic goes to one of them only. "+
			"Give each host its own with --public-ip or --iface",
			"PublicIP", now.V4.PublicIP, "subnet", now.Key(), "theirs", now.V4.Data, "ours", k.lease.V4.Data)
	}
	k.lease.Rev = now.Rev
	return nil
}

// recreate takes the same subnet back after its key went away.
func (k *keeper) recreate(ctx context.Context) error {
	k.Log.Warn("Lease has gone from etcd; taking the same subnet again", "subnet", k.lease.Key())
	for {
		sent := time.Now()
		l, err := k.store.Create(ctx, k.lease, k.TTL)
		switch {
		case err == nil:
			k.written(l, sent)
			return nil
		case errors.Is(err, ErrTaken):
			return k.reread(ctx)
		case ctx.Err() != nil:
			return nil
		}
		k.trouble.failed(err)
		if k.pause.Wait(ctx) != nil {
			return nil
		}
	}
}

// renew makes one try; the next is due soon if it fails.
func (k *keeper) renew(ctx context.Context) error {
	sent := time.Now()
	l, err := k.store.Renew(ctx, k.lease, k.TTL)
	switch {
	case err == nil:
		k.written(l, sent)
		return nil
	case errors.Is(err, ErrLost):
		return k.reread(ctx)
	case ctx.Err() == nil:
		pause := k.pause.Next()
		k.due = sent.Add(pause)
		k.trouble.failed(fmt.Errorf("%w (trying again in %s)", err, pause.Round(time.Second)))
	}
	return nil
}

// reread finds out who has our key, when a write was refused.
func (k *keeper) reread(ctx context.Context) error {
	leases, _, err := k.store.Leases(ctx)
	if err != nil {
		k.due = time.Now().Add(k.pause.Next())
		k.trouble.failed(err)
		return nil
	}
	for _, l := range leases {
		if l.Key() == k.lease.Key() {
			k.due = time.Now().Add(k.pause.Next())
			return k.compare(l)
		}
	}
	return k.recreate(ctx)
}

func (k *keeper) written(l Lease, sent time.Time) {
	k.trouble.over()
	k.pause.Reset()
	k.lease, k.due, k.rival = l, renewal(sent, k.Holding), Lease{}
	k.Log.Info(fmt.Sprintf("Lease renewed, new expiration: %s", l.Expires.Format(time.RFC3339)))
	k.announce()
}
