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
	TTL     time.Duration // zero: DefaultTTL
	Margin  time.Duration // how long before the expiry to renew; zero: an hour, as all releases do
	Since   time.Time     // when the lease was sent to the store, or earlier; zero: now
	View    *View         // of all leases, followed by somebody else
	Log     *slog.Logger
	Renewed func(Lease)   // called after each write of ours; may be nil
	Asked   <-chan func() // called by Hold, which shows that it runs; may be nil
}

const (
	defaultMargin = time.Hour
	renewRetry    = time.Minute // the longest pause between tries, as in all releases
)

// Hold keeps a lease until ctx is done, and then returns nil. If its key goes
// away it is created again at once; no outage of the store, however long, ends
// it. It returns ErrLost, and has not touched the key, if another host has it.
//
// A reservation is watched like any lease, but never renewed and never given a
// time to live.
func Hold(ctx context.Context, store Store, l Lease, h Holding) error {
	if h.TTL == 0 {
		h.TTL = DefaultTTL
	}
	if h.Margin == 0 {
		h.Margin = defaultMargin
	}
	if h.Since.IsZero() {
		h.Since = time.Now()
	}
	k := keeper{Holding: h, store: store, lease: l, due: h.Since.Add(h.lead(h.TTL)),
		trouble: trouble{log: h.Log, back: "etcd is back; the lease is safe"},
		rivalry: trouble{log: h.Log}, // nothing tells that it is over: our own write only hides it
		pause:   backoff.Backoff{Min: time.Second, Max: renewRetry}}
	changed := h.View.subscribe(l.Key())
	defer h.View.unsubscribe(changed)
	k.announce()
	for ctx.Err() == nil {
		if err := k.check(); err != nil {
			return err
		}
		var due <-chan time.Time
		if k.next != renewing || !k.lease.Reserved() {
			due = time.After(time.Until(k.due))
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case answer := <-h.Asked:
			answer()
		case <-due:
			if err := k.act(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lead returns how long after a write with this life to renew.
func (h Holding) lead(life time.Duration) time.Duration {
	if life > h.Margin {
		return life - h.Margin
	}
	return max(life/2, time.Second)
}

// keeper is the state of Hold.
type keeper struct {
	Holding
	store   Store
	lease   Lease     // as last written or read
	next    task      // what is done when it is due
	due     time.Time // by the local, monotonic clock
	seen    bool      // the View has had our key since we created it
	refused bool      // our key exists, says the store's answer to Create
	trouble trouble   // with the store
	rivalry trouble   // with a host that has our PublicIP
	pause   backoff.Backoff
}

type task int

const (
	renewing task = iota
	settling      // find out who has the key
	retaking      // create the key, which is gone
)

func (k *keeper) act(ctx context.Context) error {
	switch k.next {
	case settling:
		return k.settle(ctx)
	case retaking:
		k.retake(ctx)
	default:
		k.renew(ctx)
	}
	return nil
}

// check compares what the View has under our key with what we wrote.
func (k *keeper) check() error {
	now, rev, ok := k.View.at(k.lease.Key())
	stale := now.Rev < k.lease.Rev
	switch {
	case !ok && !k.seen && rev < k.lease.Rev:
		return nil // our own write is still on its way
	case !ok && k.next == renewing:
		k.Log.Warn("Lease has gone from etcd; taking the same subnet again", "subnet", k.lease.Key())
		k.next, k.due = retaking, time.Now()
		return nil
	case !ok || stale && now.V4.PublicIP == k.lease.V4.PublicIP:
		return nil
	case stale:
		// Either the View is behind or the store was wiped and counts anew.
		if k.next == renewing {
			k.next, k.due = settling, time.Now()
		}
		return nil
	}
	k.seen = true
	return k.compare(now)
}

// compare takes what the store has under our key for the truth.
func (k *keeper) compare(now Lease) error {
	if now.V4.PublicIP != k.lease.V4.PublicIP {
		return fmt.Errorf("%w: %s is leased to %s now", ErrLost, k.lease.Key(), now.V4.PublicIP)
	}
	if k.next != renewing {
		k.next, k.due = renewing, time.Now().Add(k.pause.Next())
	}
	if now.SameClaim(k.lease) {
		if now.Rev != k.lease.Rev && !now.Reserved() {
			// Written for us by somebody else, perhaps to expire earlier.
			if due := time.Now().Add(k.lead(time.Until(now.Expires))); due.Before(k.due) {
				k.due = due
			}
		}
		k.lease = now
		return nil
	}
	// Writing it back at once would start a fight that neither wins: our value
	// waits for the regular renewal.
	k.rivalry.failed("Another host publishes our PublicIP, and only one of the two gets traffic; "+
		"give each its own with --public-ip or --iface", "PublicIP", now.V4.PublicIP, "subnet", now.Key(),
		"theirs", now.data(), "ours", k.lease.data())
	k.lease.Rev, k.lease.Expires = now.Rev, now.Expires
	return nil
}

// data returns what tells two hosts with one address apart.
func (l Lease) data() string {
	s := l.Type + " " + l.V4.Data
	if !l.V6.IsZero() {
		s += " " + l.V6.PublicIP.String() + " " + l.V6.Data
	}
	return s
}

// ttl returns what the key may be written with.
func (k *keeper) ttl() time.Duration {
	if k.lease.Reserved() {
		return 0
	}
	return k.TTL
}

// renew makes one try.
func (k *keeper) renew(ctx context.Context) {
	sent := time.Now()
	l, err := k.store.Renew(ctx, k.lease, k.ttl())
	switch {
	case err == nil:
		k.written(l, sent)
	case errors.Is(err, ErrLost):
		k.next, k.due = settling, time.Now()
	default:
		k.again(ctx, err)
	}
}

// retake makes one try to create the key.
func (k *keeper) retake(ctx context.Context) {
	sent := time.Now()
	l, err := k.store.Create(ctx, k.lease, k.ttl())
	switch {
	case err == nil:
		k.seen = false
		k.written(l, sent)
	case errors.Is(err, ErrTaken):
		k.refused = true
		k.next, k.due = settling, time.Now()
	default:
		k.again(ctx, err)
	}
}

// settle reads who has our key after a write was refused.
func (k *keeper) settle(ctx context.Context) error {
	leases, _, err := k.store.Leases(ctx)
	if err != nil {
		k.again(ctx, err)
		return nil
	}
	for _, l := range leases {
		if l.Key() == k.lease.Key() {
			k.refused = false
			return k.compare(l)
		}
	}
	k.next = retaking
	if k.refused {
		k.again(ctx, fmt.Errorf("create lease %s: its key holds what is no lease", k.lease.Key()))
		return nil
	}
	k.Log.Warn("Lease has gone from etcd; taking the same subnet again", "subnet", k.lease.Key())
	k.due = time.Now()
	return nil
}

// again puts the task off after an error.
func (k *keeper) again(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	pause := k.pause.Next()
	k.due = time.Now().Add(pause)
	k.trouble.failed(fmt.Sprintf("Error renewing lease (trying again in %s): %v", pause.Round(100*time.Millisecond), err))
}

// written notes a write that was sent at the given time. The next renewal goes
// by that and not by the server's clock, so it is never too late.
func (k *keeper) written(l Lease, sent time.Time) {
	k.trouble.over()
	k.rivalry.over()
	k.pause.Reset()
	k.lease, k.next, k.due, k.refused = l, renewing, sent.Add(k.lead(k.TTL)), false
	if !l.Reserved() {
		k.Log.Info(fmt.Sprintf("Lease renewed, new expiration: %s", l.Expires.UTC().Format(time.RFC3339)))
	}
	k.announce()
	if k.Renewed != nil {
		k.Renewed(l)
	}
}

func (k *keeper) announce() {
	if k.lease.Reserved() {
		k.Log.Info("The lease is a reservation: it is not renewed", "subnet", k.lease.Key())
		return
	}
	k.Log.Info(fmt.Sprintf("Waiting for %s to renew lease", time.Until(k.due).Round(time.Second)))
}
