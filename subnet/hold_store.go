package subnet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// checkView compares what the View has under our key with what we wrote.
func (k *keeper) checkView() error {
	now, rev, there := k.View.at(k.lease.Key())
	behind := rev < k.lease.Rev
	earlier := now.Rev < k.lease.Rev
	switch {
	case !there && (k.next != renewing || behind && !k.seen):
		// It is known, or our own write is still on its way.
	case !there && !behind:
		return k.gone()
	case !there:
		// The key went before our last write, and the View has yet to hear of that; or
		// the store was wiped and counts anew.
		k.seen = false
		k.verify()
	case !earlier && now != k.compared:
		k.seen = true
		return k.compare(now)
	case earlier && k.next == renewing && !now.Same(k.stored) && k.listing != k.View.listings():
		k.verify() // the store was restored from a backup, perhaps, which has what we wrote before
	case earlier && k.whose(now) == ours && (behind || now.Same(k.stored)):
		// Our last write is still on its way, or was a quiet renewal, which is no event.
	case now == k.compared:
		k.seen = true
	case k.next == renewing:
		k.verify() // the View is behind, or the store was wiped and counts anew
	}
	return nil
}

func (k *keeper) whose(l Lease) owner { return k.earlier.whose(l, k.lease) }

// compare takes what the store has under our key for the truth.
func (k *keeper) compare(now Lease) error {
	k.compared = now
	restored := now.Rev < k.lease.Rev // what another has written over ours is later
	switch k.whose(now) {
	case others:
		return fmt.Errorf("%w: %s is leased to %s now", ErrLost, k.lease.Key(), now.holder())
	case rivals:
		return fmt.Errorf("%w: %s is leased to %s now, and this host is node %s with the same PublicIP; "+
			"give each host its own with --public-ip or --iface", ErrLost, k.lease.Key(), now.holder(), k.lease.Node)
	case duplicates:
		if !restored {
			return k.meet(now)
		}
	}
	up := k.up()
	if k.lease.Reserved() && !now.Reserved() {
		k.until, k.due = up+k.ttl, up // they were those of the time before the reservation
		k.shorten(k.left(now), up)
	}
	foreign := now.Rev != k.lease.Rev
	k.foundByView(now)
	if k.next != renewing {
		k.next, k.due = renewing, up
		if !k.Unverified { // what is ours and not written as we write it would be refused again and again
			k.due += k.retries.Next()
		}
		k.Unverified = false
	}
	if now.Reserved() {
		k.doubt = "" // it is there, and stays
	}
	switch {
	case now.Contest != "":
		k.due = up // our value, written again, is the answer
		k.Log.Info("A host with this host's PublicIP or node id asks whether this host is alive; answering", "subnet", now.Key())
	case now.Mirror != "": // likewise
		k.due = up
		k.Log.Info("A mirror has made this host's lease a copy, as if the host had moved to etcd's other API; writing it again",
			"subnet", now.Key(), "other", now.Mirror)
	case now.SameClaim(k.lease):
		if foreign && !now.Reserved() {
			k.hasten(k.left(now), up)
		}
	case !restored && k.earlier.imitated(now, k.lease) && (now.contradicts(k.lease) || !now.Reserved()):
		// Writing it back at once would start a fight that neither wins: our value
		// waits for the regular renewal.
		k.due = max(k.due, k.sent+min(k.seldom, k.latest))
		if k.imitated.Changed("PublicIP") {
			k.Log.Error("Another host publishes our PublicIP, and only one of the two gets traffic; "+
				"give each its own with --public-ip or --iface", "PublicIP", now.V4.PublicIP, "subnet", now.Key(),
				"theirs", now.data(), "ours", k.lease.data())
		}
	default: // a restored backup's, or an operator's: peers do not find us by it
		k.Log.Warn("The lease in etcd is not what this host publishes; writing it again",
			"subnet", now.Key(), "there", now.V4.PublicIP.String()+" "+now.data(), "ours", k.lease.V4.PublicIP.String()+" "+k.lease.data())
		k.due = max(up, k.sent+k.retry/10)
	}
	return nil
}

// foundByView is found, and says it if the lease has become a reservation, or a lease again:
// that is no change of its state.
func (k *keeper) foundByView(now Lease) {
	became := now.Reserved() != k.lease.Reserved()
	k.found(now)
	if became {
		k.announce()
		k.report()
	}
}

// meet deals with a host that has our node id and has written over our key. If we have
// held the lease for a while, that host is the copy, and finds itself another id when we
// write over its write. One that writes again thinks the same of us: it has the lease.
func (k *keeper) meet(now Lease) error {
	if k.over() || k.objected || k.up()-k.began < k.retryMax {
		return fmt.Errorf("%w: %w: %s is leased to %s now", ErrLost, ErrDuplicate, k.lease.Key(), now.holder())
	}
	k.objected = true
	k.Log.Error("A host with a copy of this host's state directory has taken its lease; taking it back",
		"subnet", k.lease.Key(), "theirs", now.V4.PublicIP, "ours", k.lease.V4.PublicIP, "node", now.Node)
	k.found(now)
	k.next, k.due = renewing, k.up()
	return nil
}

// soon is the longest pause between tries to say something new.
const soon = 2 * time.Second

// act makes one try to do what is next.
func (k *keeper) act(ctx context.Context) error {
	bound, cancel := k.bound(ctx)
	defer cancel()
	var err error
	if k.next != verifying {
		err = k.write(bound)
	} else if now, there, failed := read(bound, k.store, k.lease.Key()); failed != nil {
		err = failed
	} else if there {
		k.refused = false
		err := k.compare(now)
		if seen, _, ok := k.View.at(now.Key()); ok {
			k.compared = seen // it is older, and no news
		}
		return err
	} else if !k.refused {
		return k.gone()
	} else {
		k.next, err = creating, fmt.Errorf("create lease %s: its key holds what is no lease", k.lease.Key())
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	pause := k.retries.Next()
	if k.differs() {
		pause = min(pause, soon) // peers send to where we are no more
	}
	k.due = k.up() + pause
	k.doubt = err.Error()
	k.trouble.failed(fmt.Sprintf("Error renewing lease (trying again in %s): %v", pause.Round(100*time.Millisecond), err))
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

// write creates the key, or writes it. If that holds what it should it only gets more
// time. The deadline counts from when the write was sent and not by the server's clock,
// so that it is never too late.
func (k *keeper) write(ctx context.Context) error {
	ttl := k.ttl
	if k.lease.Reserved() && k.next != creating { // one that is gone is no reservation any more
		ttl = 0
	}
	sent, quiet := k.up(), true // after a full write the next ones may be
	var l Lease
	var err error
	switch {
	case k.next == creating:
		l, err = k.store.Create(ctx, k.lease, ttl)
	case k.differs():
		l, err = k.store.Renew(ctx, k.stored, k.lease, ttl)
	default:
		l, quiet, err = k.store.Refresh(ctx, k.lease, ttl)
	}
	switch {
	case errors.Is(err, ErrTaken), errors.Is(err, ErrLost):
		k.refused = k.next == creating
		k.verify()
		return nil
	case err != nil:
		return err
	}
	k.trouble.over()
	k.retries.Reset()
	k.found(l)
	k.listing = k.View.listings()
	k.seen = k.seen && k.next != creating
	k.refused, k.Rebound, k.doubt = false, false, ""
	k.next = renewing
	k.renewed(sent, quiet)
	k.assess()
	if !l.Reserved() {
		k.Log.Info(fmt.Sprintf("Lease renewed, new expiration: %s", l.Expires.UTC().Format(time.RFC3339)))
	}
	k.announce()
	k.report()
	return nil
}

// gone is called when the key is: it is created again at once.
func (k *keeper) gone() error {
	if k.Surrender {
		return fmt.Errorf("%w: the key of %s is gone", ErrLost, k.lease.Key())
	}
	k.Log.Warn("Lease has gone from etcd; taking the same subnet again", "subnet", k.lease.Key())
	k.View.ownGone()
	k.next, k.due = creating, k.up()
	return nil
}

// staleOf returns the host's stale leases. One that is about to expire is not worth the
// risk that another host has the key by the time it is deleted.
func (k *keeper) staleOf(all []Lease) []Lease {
	_, wall := k.Clock()
	return k.earlier.stale(all, k.lease, wall.Add(k.ttl/4))
}

// lookForStale is called when there may be stale leases. They are deleted a while after
// any were seen.
func (k *keeper) lookForStale() {
	if k.staleDue == 0 && k.lease.Node != "" && len(k.staleOf(k.View.Leases())) > 0 {
		k.staleDue = k.up() + k.retryMax/30
	}
}

// deleteStale deletes the host's stale leases when that is due. A failure is not worth
// another try: they expire.
func (k *keeper) deleteStale(ctx context.Context) {
	if k.staleDue == 0 || k.up() < k.staleDue {
		return
	}
	k.staleDue = 0
	bound, cancel := k.bound(ctx)
	defer cancel()
	leases, _, _ := k.store.Leases(bound)
	for _, l := range k.staleOf(leases) {
		if k.store.Delete(bound, l) == nil {
			k.Log.Warn("Deleted an unused lease of this host: a write that was given up came late", "subnet", l.Key())
		}
	}
}
