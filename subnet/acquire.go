package subnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
	"flanneld/subnet/config"
)

// Request says what lease a host wants.
type Request struct {
	Config   config.Config
	Lease    Lease         // what to publish, without subnets; its Node and IPv4 PublicIP are what the host is known by
	Previous Key           // the subnets of the last run; zero if not known
	TTL      time.Duration // zero: DefaultTTL
	Clock    Clock         // nil: HostClock

	// Report is called at the start, and when the reason changes for which there is no
	// lease yet; may be nil.
	Report func(Standing)

	// Mark is what node ids begin with that were made on this machine; empty: not known.
	Mark string
	// Known: the host has the node id from an earlier run, and so a lease with it is its own.
	Known bool
	// TakeOver: any lease with its PublicIP is its own, as for all older releases.
	TakeOver bool
	// Freed are subnets whose leases have gone lately, oldest first. They are taken only
	// when there are no others: packets to their last host may still be on their way.
	Freed []Key
	// Avoid are the subnets that this host itself is in. No lease of it may overlap them.
	Avoid []netip.Prefix

	stranger bool // the host of a lease that might have been this host's is another one
}

// Acquired is a lease as it was taken.
type Acquired struct {
	Lease Lease
	Seen  Snapshot      // with the lease in it; following it from its revision misses nothing
	Sent  time.Duration // by the Clock: when the write was sent

	Created bool // the store had no such key
}

// Acquire takes a lease: the host's own, found by its node id or, if the lease has
// none, by its PublicIP; else one whose host is gone and was this one, by its PublicIP, its
// machine or its device; else the previous subnet if it is free; else a random free
// one. It tries until it has one, or returns the error of ctx. It waits while the store
// does not answer, while the network is full, and while another node's lease has our
// PublicIP. It returns ErrDuplicate if a live host has our node id.
//
// Another host's lease is never written. If the outcome of a write is not known
// the next listing decides, by owner.
func Acquire(ctx context.Context, store Store, r Request, log *slog.Logger) (Acquired, error) {
	if !r.Lease.V4.PublicIP.IsValid() {
		return Acquired{}, errors.New("acquire lease: the host has no PublicIP to be known by")
	}
	r.TTL = cmp.Or(r.TTL, DefaultTTL)
	if r.Clock == nil {
		r.Clock = HostClock
	}
	if r.Report == nil {
		r.Report = func(Standing) {}
	}
	a := acquirer{Request: r, store: store, log: log, refused: make(map[Key]int),
		race:  backoff.Backoff{Min: 10 * time.Millisecond, Max: 500 * time.Millisecond},
		down:  trouble{log: log, back: "etcd is back"},
		full:  trouble{log: log, back: "A subnet has become free"},
		rival: trouble{log: log, back: "No other node's lease has this host's PublicIP any more"}}
	r.Report(Standing{State: Acquiring})
	for {
		got, err := a.once(ctx)
		switch {
		case err == nil:
			a.down.over()
			a.full.over()
			a.rival.over()
			v6 := "<nil>"
			if got.Lease.V6.Subnet.IsValid() {
				v6 = got.Lease.V6.Subnet.String()
			}
			log.Info(fmt.Sprintf("Allocated lease (ip: %s ipv6: %s) to current node (%s)", got.Lease.V4.Subnet, v6, r.Lease.V4.PublicIP))
			return got, nil
		case ctx.Err() != nil:
			return Acquired{}, ctx.Err()
		case errors.Is(err, ErrDuplicate):
			return Acquired{}, err
		}
		if err := a.wait(ctx, err); err != nil {
			return Acquired{}, err
		}
	}
}

// errRival: another node's lease has our PublicIP.
var errRival = errors.New("another node has this host's PublicIP")

// mostRefused is the number of refusals after which a key counts as taken although no
// lease is listed there: a race does not explain so many, so it holds no lease.
const mostRefused = 3

// acquirer is the state of Acquire.
type acquirer struct {
	Request
	store    Store
	log      *slog.Logger
	rev      Revision    // of the last listing
	refused  map[Key]int // how often Create found a key taken
	last     step        // that was logged
	reported logonce.Line
	pause    backoff.Backoff
	race     backoff.Backoff // after another host was quicker

	down, full, rival trouble // the store does not answer, the network is full, another node has our PublicIP

	answered   Key       // of a lease that a live host has, with our PublicIP
	answeredAt time.Time // the last time
}

// wait says why there is no lease yet, and waits until another try is worth it.
func (a *acquirer) wait(ctx context.Context, err error) error {
	if errors.Is(err, ErrTaken) || errors.Is(err, ErrLost) { // another host was quicker
		return a.race.Wait(ctx)
	}
	if a.reported.ChangedError(err) {
		a.Report(Standing{State: Acquiring, Reason: err.Error()})
	}
	switch {
	case errors.Is(err, config.ErrFull):
		a.full.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for one to become free", err),
			"hint", "widen Network, or delete the leases of hosts that are gone")
	case errors.Is(err, errRival):
		a.rival.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for that lease to go", err),
			"hint", "give each host its own PublicIP with --public-ip or --iface. If it is a lease that this host had before it was "+
				"reinstalled, delete it or start once with --take-over")
	default:
		a.down.failed(fmt.Sprintf("Failed to acquire subnet: %v; trying again", err))
		return a.pause.Wait(ctx)
	}
	a.down.over()
	if a.freed(ctx) {
		return nil
	}
	return a.pause.Wait(ctx)
}

// once lists, decides and does one step. It returns ErrTaken or ErrLost if the leases
// have changed meanwhile: they are to be listed again.
func (a *acquirer) once(ctx context.Context) (Acquired, error) {
	leases, rev, err := a.store.Leases(ctx)
	if err != nil {
		return Acquired{}, fmt.Errorf("list leases: %w", err)
	}
	a.rev = rev
	s, err := decide(append(slices.Clip(leases), a.junk()...), a.Request)
	if err != nil {
		clear(a.refused) // perhaps they have become free
		return Acquired{}, err
	}
	if s.contest {
		if s.was, err = a.contest(ctx, s.was); err != nil {
			return Acquired{}, err
		}
	}
	a.say(s)
	var lease Lease
	sent, _ := a.Clock()
	switch s.do {
	case drop:
		if err = a.store.Delete(ctx, s.lease); err == nil {
			err = ErrLost
		}
	case adopt:
		ttl := a.TTL
		if s.was.Reserved() {
			ttl = 0
		}
		lease, err = a.store.Renew(ctx, s.was, s.lease, ttl)
	case reuse, create:
		lease, err = a.store.Create(ctx, s.lease, a.TTL)
		if errors.Is(err, ErrTaken) {
			a.refused[s.lease.Key()]++
		}
	}
	if err != nil {
		return Acquired{}, err
	}
	leases = slices.DeleteFunc(leases, func(l Lease) bool { return l.Key() == lease.Key() })
	return Acquired{lease, Snapshot{append(leases, lease), rev}, sent, s.do != adopt}, nil
}

// contest returns a lease that seems to be ours, as it is now, if no live host has it, or
// ErrDuplicate or, of another node, errRival. A rival that has answered is not asked again
// for a while. One with another PublicIP is not waited for: contest returns ErrLost, and
// looks for no other.
func (a *acquirer) contest(ctx context.Context, was Lease) (Lease, error) {
	patience, lives := patienceTwin, duplicate(was)
	if was.Node != a.Lease.Node {
		patience, lives = patienceRival, fmt.Errorf("%w: %s is leased to %s, and this host is node %s", errRival, was.Key(), was.holder(), a.Lease.Node)
		if a.answered == was.Key() && time.Since(a.answeredAt) < reminder/2 {
			return Lease{}, lives
		}
	}
	a.log.Info("Asking whether the host of a lease is alive; the lease may be this host's", "subnet", was.Key(), "PublicIP", was.V4.PublicIP, "node", was.Node)
	now, alive, err := contest(ctx, a.store, was, a.TTL, patience)
	if alive {
		a.answered, a.answeredAt = was.Key(), time.Now()
		err = lives
		if was.Node != a.Lease.Node && was.V4.PublicIP != a.Lease.V4.PublicIP {
			a.stranger, err = true, ErrLost
		}
	}
	return now, err
}

func duplicate(l Lease) error {
	return fmt.Errorf("%w: %s is held at %s", ErrDuplicate, l.Key(), l.V4.PublicIP)
}

// freed waits until a lease goes, and for no longer than until the next reminder.
// It is false if none went that the store knows of.
func (a *acquirer) freed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reminder)
	defer cancel()
	for e, err := range a.store.Watch(ctx, a.rev) {
		if err != nil || e.Deleted {
			return err == nil
		}
	}
	return false
}

// junk returns stand-ins for the keys that exist, say the store's answers, and are no
// leases.
func (a *acquirer) junk() (all []Lease) {
	for k, times := range a.refused {
		if times >= mostRefused {
			all = append(all, Request{}.at(k))
		}
	}
	return all
}
