package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
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
	Changes <-chan Lease   // what the lease is to say from now on; its subnets, Node, Rev and Expires are passed over
	Entered func(Standing) // called when the State changes, and at once; may be nil
	Renewed func(Standing) // called after each write of ours; may be nil
	Asked   <-chan func()  // called by Hold, which shows that it runs; may be nil
}

const defaultMargin = time.Hour

// Hold keeps a lease until ctx is done, and then returns nil. If its key goes
// away it is created again at once; no outage of the store, however long, ends
// it. It returns ErrLost, and has not touched the key, if another host has it,
// and ErrTwin if that host has our node id.
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
	if h.Clock == nil {
		h.Clock = HostClock
	}
	k := newKeeper(store, l, h)
	changed := h.View.hold(l.Key(), l.Node)
	defer h.View.release()
	k.assess()
	k.announce()
	for ctx.Err() == nil {
		k.look()
		if err := k.check(); err != nil {
			return k.end(err)
		}
		k.assess()
		if k.isDue() {
			if err := k.act(ctx); err != nil {
				return k.end(err)
			}
			continue
		}
		k.tidy(ctx)
		select {
		case <-ctx.Done():
		case <-changed:
			k.strays.look = true
			k.hurry()
		case l := <-h.Changes:
			k.publish(l)
		case answer := <-h.Asked:
			answer()
		case <-time.After(k.idle()):
		}
	}
	return nil
}

// keeper is the state of Hold. Its times are the Clock's.
type keeper struct {
	Holding
	pace
	store    Store
	lease    Lease         // what the key is to hold, with Rev and Expires as last read or written
	known    []Lease       // what we have written before and may find
	differs  bool          // the key does not hold it, though it is ours
	last     time.Duration // when the last good write was sent
	until    time.Duration // the deadline; says nothing of a reservation
	next     task          // what is done when it is due
	due      time.Duration
	began    time.Duration // of Hold
	seen     bool          // the View has had our key since we created it
	refused  bool          // our key exists, says the store's answer to Create
	compared Revision      // of what was last found under our key
	fought   bool          // a twin's write was written over
	doubt    string        // why the lease is not safe; empty: it is
	state    State
	clocks   clocks
	strays   strays
	trouble  trouble // with the store
	rivalry  trouble // with a host that has our PublicIP
	retries  backoff.Backoff
}

type task int

const (
	renewing task = iota
	settling      // find out who has the key
	retaking      // create the key, which is gone
)

func newKeeper(store Store, l Lease, h Holding) *keeper {
	p := paceOf(h.TTL, h.Margin)
	k := &keeper{Holding: h, pace: p, store: store, lease: l, compared: l.Rev,
		trouble: trouble{log: h.Log, back: "etcd is back; the lease is safe"},
		rivalry: trouble{log: h.Log}, // nothing tells that it is over: our own write only hides it
		retries: backoff.Backoff{Min: p.retry, Max: p.retryMax},
		strays:  strays{look: true}}
	k.began = k.up()
	if k.last = h.Sent; h.Sent == 0 {
		k.last = k.began
	}
	k.until, k.due = k.last+k.ttl-k.safety, k.last+k.after(true)
	if h.Unverified {
		k.doubt = "it was not verified yet"
		k.next, k.due = settling, k.began
	}
	k.clocks = newClocks(h.Clock)
	return k
}

func (k *keeper) up() time.Duration {
	up, _ := k.Clock()
	return up
}

// isDue reports whether it is time to act. A reservation is not renewed.
func (k *keeper) isDue() bool {
	return k.up() >= k.due && (k.next != renewing || !k.lease.Reserved() || k.differs)
}

// idle returns how long there is nothing to do but to listen.
func (k *keeper) idle() time.Duration {
	now := k.up()
	wait := k.tick
	for _, t := range []time.Duration{k.due, k.until, k.strays.due} {
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
	switch {
	case k.lease.Reserved() && k.doubt == "":
		k.enter(k.safe(), "")
	case k.over():
		reason := k.doubt
		if reason == "" {
			reason = "it was not renewed in time"
		}
		k.enter(Expired, reason)
	case k.doubt != "":
		k.enter(AtRisk, k.doubt)
	default:
		k.enter(k.safe(), "")
	}
}

func (k *keeper) safe() State {
	if k.Rebound {
		return Rebound
	}
	return Held
}

// enter is one step of the state machine: logged once, and told to who asked.
func (k *keeper) enter(s State, reason string) {
	if s == k.state {
		return
	}
	level, was := slog.LevelInfo, k.state
	switch k.state = s; s {
	case AtRisk:
		level = slog.LevelWarn
	case Expired, Conflict:
		level = slog.LevelError
	}
	k.View.ownAtRisk(s == AtRisk || s == Expired)
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
	k.Log.Log(context.Background(), level, "Lease is "+stateWords(s), args...)
	if k.Entered != nil {
		k.Entered(k.standing(reason))
	}
}

func stateWords(s State) string {
	switch s {
	case Expired:
		return "expired, as far as this host knows: another host may get the subnet; trying to keep it"
	case Conflict:
		return "in conflict: the subnet is not this host's any more"
	}
	return s.String()
}

func (k *keeper) standing(reason string) Standing {
	s := Standing{State: k.state, Lease: k.lease, Reason: reason, Sent: k.last}
	if !k.lease.Reserved() {
		s.Deadline = k.until
	}
	return s
}

// end is called with what Hold returns.
func (k *keeper) end(err error) error {
	if errors.Is(err, ErrLost) {
		k.enter(Conflict, err.Error())
	}
	return err
}

func (k *keeper) announce() {
	if k.lease.Reserved() {
		k.Log.Info("The lease is a reservation: it is not renewed", "subnet", k.lease.Key())
		return
	}
	k.Log.Info(fmt.Sprintf("Waiting for %s to renew lease", max(k.due-k.up(), 0).Round(time.Second)))
}
