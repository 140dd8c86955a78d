package subnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

func (k *keeper) act(ctx context.Context) error {
	bound, cancel := k.bound(ctx)
	defer cancel()
	var err error
	switch k.next {
	case settling:
		var done bool
		if done, err = k.settle(bound); done {
			return err
		}
	case retaking:
		err = k.retake(bound)
	default:
		err = k.renew(bound)
	}
	if err != nil && ctx.Err() == nil {
		k.again(err)
	}
	return nil
}

var errSlow = errors.New("no answer in the time that the lease leaves")

// bound ends a call when the deadline passes, which must be noticed then.
func (k *keeper) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	d := k.patience
	if left := k.until - k.up(); left > 0 && !k.lease.Reserved() {
		d = min(d, left)
	}
	return context.WithTimeoutCause(ctx, d, errSlow)
}

// life returns what the key may be written with.
func (k *keeper) life() time.Duration {
	if k.lease.Reserved() {
		return 0
	}
	return k.ttl
}

// publish changes what the lease says. It is written at once.
func (k *keeper) publish(l Lease) {
	k.remember()
	l.V4.Subnet, l.V6.Subnet = k.lease.V4.Subnet, k.lease.V6.Subnet
	l.Node, l.Rev, l.Expires = k.lease.Node, k.lease.Rev, k.lease.Expires
	if l == k.lease {
		return
	}
	k.lease, k.differs = l, true
	if k.next == renewing {
		k.due = k.up()
	}
}

// remember keeps what we publish, for a late write is still ours.
func (k *keeper) remember() {
	const most = 8
	if len(k.known) == most {
		k.known = k.known[1:]
	}
	k.known = append(k.known, k.lease)
}

// renew makes one try. A key that holds what it should only gets more time.
func (k *keeper) renew(ctx context.Context) error {
	sent := k.up()
	var l Lease
	var quiet bool
	var err error
	if k.differs {
		l, err = k.store.Renew(ctx, k.lease, k.life())
		quiet = true // the next ones may be
	} else {
		l, quiet, err = k.store.Refresh(ctx, k.lease, k.ttl)
	}
	switch {
	case err == nil:
		k.written(l, sent, quiet)
	case errors.Is(err, ErrLost):
		k.next, k.due = settling, k.up()
	default:
		return err
	}
	return nil
}

// retake makes one try to create the key.
func (k *keeper) retake(ctx context.Context) error {
	sent := k.up()
	l, err := k.store.Create(ctx, k.lease, k.life())
	switch {
	case err == nil:
		k.seen = false
		k.written(l, sent, true)
	case errors.Is(err, ErrTaken):
		k.refused = true
		k.next, k.due = settling, k.up()
	default:
		return err
	}
	return nil
}

// settle reads who has our key. Done is false if that is not known now.
func (k *keeper) settle(ctx context.Context) (done bool, err error) {
	leases, _, err := k.store.Leases(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range leases {
		if l.Key() != k.lease.Key() {
			continue
		}
		k.refused = false
		err := k.compare(l)
		if seen, _, ok := k.View.at(l.Key()); ok {
			k.compared = seen.Rev // it is older, and no news
		}
		return true, err
	}
	if k.refused {
		k.next = retaking
		return false, fmt.Errorf("create lease %s: its key holds what is no lease", k.lease.Key())
	}
	return true, k.gone()
}

// gone is called when the key is: it is created again at once.
func (k *keeper) gone() error {
	if k.Surrender {
		return fmt.Errorf("%w: the key of %s is gone", ErrLost, k.lease.Key())
	}
	k.Log.Warn("Lease has gone from etcd; taking the same subnet again", "subnet", k.lease.Key())
	k.View.ownGone()
	k.next, k.due = retaking, k.up()
	return nil
}

// hurry tries again soon what failed: somebody on this host has heard of the store,
// as have other hosts.
func (k *keeper) hurry() {
	if k.doubt != "" {
		k.due = min(k.due, k.up()+rand.N(k.retry/5+1))
	}
}

// soon bounds the pause between tries to say something new.
const soon = 2 * time.Second

// again puts the task off after an error.
func (k *keeper) again(err error) {
	pause := k.retries.Next()
	if k.differs {
		pause = min(pause, soon) // peers send to where we are no more
	}
	k.due = k.up() + pause
	k.doubt = err.Error()
	k.trouble.failed(fmt.Sprintf("Error renewing lease (trying again in %s): %v", pause.Round(100*time.Millisecond), err))
}

// written notes a write that was sent at the given time. All goes by that and not
// by the server's clock, so that it is never too late.
func (k *keeper) written(l Lease, sent time.Duration, quiet bool) {
	k.trouble.over()
	k.rivalry.over()
	k.retries.Reset()
	k.lease.Rev, k.lease.Expires = l.Rev, l.Expires
	k.differs, k.refused, k.doubt = false, false, ""
	k.next, k.last, k.Rebound = renewing, sent, false
	k.until, k.due = sent+k.ttl-k.safety, sent+k.after(quiet)
	k.assess()
	if !l.Reserved() {
		k.Log.Info(fmt.Sprintf("Lease renewed, new expiration: %s", l.Expires.UTC().Format(time.RFC3339)))
	}
	k.announce()
	if k.Renewed != nil {
		k.Renewed(k.standing(""))
	}
}
