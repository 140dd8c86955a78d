package subnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
)

// Holding says how a lease is held. The zero value of a field is its usual one.
type Holding struct {
	TTL    time.Duration // zero: DefaultTTL
	Margin time.Duration // how long before the expiry to renew at the latest, of a TTL of a day and in proportion of another; zero: an hour, as all releases do
	Clock  Clock         // nil: HostClock

	// Sent is when the lease's last good write was sent, by the Clock, or earlier;
	// zero: now. It may be before the host was up.
	Sent time.Duration
	// Unverified: the lease was not read from the store, but from what was kept of
	// it. It is at risk, and looked for in the store before all else.
	Unverified bool
	// Rebound: the lease is in the place of one that was lost.
	Rebound bool
	// Surrender: a key that is gone is not created again. Hold returns ErrLost.
	Surrender bool

	View    *View // of all leases, followed by somebody else
	Log     *slog.Logger
	Changes <-chan Lease   // what the lease is to say from now on; its subnets, Node, Rev and Expires are ignored
	Report  func(Standing) // called at once, when the State changes, and after each write of ours, which moves the deadline; may be nil
	Ping    <-chan func()  // called by Hold, which shows that it runs; may be nil
}

const defaultMargin = time.Hour

// Hold keeps a lease until ctx is done, and then returns nil. If its key goes
// away it is created again at once; no outage of the store, however long, ends
// it. It returns ErrLost, and has not touched the key, if another host has it,
// and ErrDuplicate if that host has our node id.
//
// A reservation is watched like any lease, but never renewed and never given a
// time to live.
func Hold(ctx context.Context, store Store, l Lease, h Holding) error {
	h.TTL, h.Margin = cmp.Or(h.TTL, DefaultTTL), cmp.Or(h.Margin, defaultMargin)
	if h.Clock == nil {
		h.Clock = HostClock
	}
	if h.Report == nil {
		h.Report = func(Standing) {}
	}
	p := paceOf(h.TTL, h.Margin)
	now, _ := h.Clock()
	k := &keeper{Holding: h, deadline: deadline{pace: p}, store: store, lease: l, stored: l, compared: l, listing: h.View.listings(),
		began: now, clocks: newClocks(h.Clock),
		trouble:  trouble{log: h.Log, back: "etcd is back; the lease is safe"},
		imitated: logonce.Line{Repeat: reminder},
		retries:  backoff.Backoff{Min: p.retry, Max: p.retryMax}}
	k.renewed(cmp.Or(h.Sent, now), true)
	if h.Unverified {
		k.doubt = "it was not verified yet"
		k.verify()
	}
	written := h.View.hold(l.Key(), l.Node)
	defer h.View.release()
	k.lookForStale()
	k.assess()
	k.announce()
	err := k.run(ctx, written)
	if errors.Is(err, ErrLost) {
		k.enter(Conflict, err.Error())
	}
	return err
}

func (k *keeper) run(ctx context.Context, written <-chan struct{}) error {
	for ctx.Err() == nil {
		k.checkClocks()
		if err := k.checkView(); err != nil {
			return err
		}
		k.assess()
		mayAct := k.next != renewing || !k.lease.Reserved() || k.differs() // a reservation is not renewed
		if mayAct && k.up() >= k.due {
			if err := k.act(ctx); err != nil {
				return err
			}
			continue
		}
		k.deleteStale(ctx)
		select {
		case <-ctx.Done():
		case <-written:
			k.lookForStale()
			if k.doubt != "" { // somebody on this host has heard of the store, as have other hosts
				k.due = min(k.due, k.up()+rand.N(k.retry/5+1))
			}
		case l := <-k.Changes:
			k.publish(l)
		case answer := <-k.Ping:
			answer()
		case <-time.After(k.idle()):
		}
	}
	return nil
}

// keeper is Hold's state machine. What it does next:
//
//	           the key is gone                created
//	renewing ─────────────────▶ creating ─────────────────▶ renewing
//	  │  ▲                         │ it exists, says the store
//	  │  └───── it is ours ─────┐  ▼
//	  └──────────────────────▶ verifying ── another host's ─▶ ErrLost
//	    a write was refused,       │ it is gone
//	    or the host was away       └───────────────────────▶ creating
//
// How the lease stands meanwhile:
//
//	           a try fails            the deadline passes
//	held ───────────────────▶ at risk ───────────────────▶ expired
//	 ▲ ▲                         │                            │
//	 │ └── renewed or created ───┴────────────────────────────┘
//	 └── renewed ── rebound              all ── ErrLost ──▶ conflict
type keeper struct {
	Holding
	deadline
	store    Store
	lease    Lease         // what the key is to hold, with Rev and Expires as last read or written
	stored   Lease         // what it holds, as last read or written
	earlier  writes        // of ours
	next     task          // what is done when it is due
	seen     bool          // the View has had our key since we created it
	refused  bool          // our key exists, says the store's answer to Create
	compared Lease         // what of the View's was last compared
	listing  int           // how many the View had had when the key was last written, or looked for
	began    time.Duration // when we began to hold the lease
	objected bool          // to a host that has our node id
	doubt    string        // why the lease is not safe; empty: it is
	standing Standing
	clocks   clocks
	staleDue time.Duration // when to delete stale leases; zero: there are none
	trouble  trouble       // with the store
	imitated logonce.Line  // another host has our PublicIP; its repetition bounds a fight that our own writes hide
	retries  backoff.Backoff
}

type task int

const (
	renewing  task = iota
	verifying      // find out who has the key
	creating       // the key is gone
)

func (k *keeper) up() time.Duration {
	up, _ := k.Clock()
	return up
}

// left returns how long a lease lives by its expiry and the wall clock.
func (k *keeper) left(l Lease) time.Duration {
	_, wall := k.Clock()
	return l.Expires.Sub(wall)
}

// idle returns how long there is nothing to do but to listen.
func (k *keeper) idle() time.Duration {
	now := k.up()
	wait := k.tick
	for _, t := range []time.Duration{k.due, k.until, k.staleDue} {
		if t > now {
			wait = min(wait, t-now)
		}
	}
	return wait
}

// over reports whether the deadline has passed. A reservation has none.
func (k *keeper) over() bool { return !k.lease.Reserved() && k.up() >= k.until }

// assess finds the state anew.
func (k *keeper) assess() {
	state, reason := Held, k.doubt
	switch {
	case k.over():
		state, reason = Expired, cmp.Or(k.doubt, "it was not renewed in time")
	case k.doubt != "":
		state = AtRisk
	case k.Rebound:
		state = Rebound
	}
	k.enter(state, reason)
}

// enter is one step of the state machine. It is logged and reported once.
func (k *keeper) enter(s State, reason string) {
	was := k.standing.State
	if s == was {
		return
	}
	k.standing.State, k.standing.Reason = s, reason
	k.View.ownAtRisk(s == AtRisk || s == Expired)
	level, words := stateWords(s)
	args := []any{"subnet", k.lease.Key()}
	if was != 0 {
		args = append(args, "was", was)
	}
	if reason != "" {
		args = append(args, "reason", reason)
	}
	if s == AtRisk && !k.lease.Reserved() {
		args = append(args, "ours for", (k.until - k.up()).Round(time.Second))
	}
	k.Log.Log(context.Background(), level, "Lease is "+words, args...)
	k.report()
}

func stateWords(s State) (slog.Level, string) {
	switch s {
	case AtRisk:
		return slog.LevelWarn, s.String()
	case Expired:
		return slog.LevelError, "expired, as far as this host knows: another host may get the subnet; trying to keep it"
	case Conflict:
		return slog.LevelError, "in conflict: the subnet is not this host's any more"
	}
	return slog.LevelInfo, s.String()
}

func (k *keeper) report() {
	s := k.standing
	if s.Lease, s.Sent = k.lease, k.sent; !s.Lease.Reserved() {
		s.Deadline = k.until
	}
	k.Report(s)
}

func (k *keeper) announce() {
	if k.lease.Reserved() {
		k.Log.Info("The lease is a reservation: it is not renewed", "subnet", k.lease.Key())
		return
	}
	k.Log.Info(fmt.Sprintf("Waiting for %s to renew lease", max(k.due-k.up(), 0).Round(time.Second)))
}

// checkClocks finds out whether the host was away. If so the lease is looked for in the
// store before anything is done about it.
func (k *keeper) checkClocks() {
	then := k.clocks
	k.clocks = newClocks(k.Clock)
	apart, passed := k.clocks.since(then)
	if !k.wasAway(apart, passed) {
		return
	}
	k.Log.Info("The host was suspended or stopped, or its clock was set; looking for the lease in etcd",
		"clocks apart", apart.Round(time.Second), "passed", passed.Round(time.Second))
	k.due = k.up()
	if k.next == renewing {
		k.verify()
	}
}

// differs reports whether the key does not hold what it is to, though it is ours.
func (k *keeper) differs() bool { return !k.stored.Same(k.lease) }

// found takes note of what the key holds.
func (k *keeper) found(l Lease) { k.stored, k.lease.Rev, k.lease.Expires = l, l.Rev, l.Expires }

// verify asks the store at once who has the key.
func (k *keeper) verify() { k.next, k.due, k.listing = verifying, k.up(), k.View.listings() }

// publish changes what the lease says. It is written at once.
func (k *keeper) publish(l Lease) {
	k.earlier.add(k.lease)
	l.V4.Subnet, l.V6.Subnet = k.lease.V4.Subnet, k.lease.V6.Subnet
	l.Node, l.Rev, l.Expires = k.lease.Node, k.lease.Rev, k.lease.Expires
	if l == k.lease {
		return
	}
	k.lease = l
	if k.next == renewing {
		k.due = k.up()
	}
}
