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
	"flanneld/subnet/config"
)

// Request says what lease a host wants.
type Request struct {
	Config   config.Config
	Lease    Lease         // what to publish, without subnets; its Node and IPv4 PublicIP are what the host is known by
	Previous Key           // the subnets of the last run; zero if not known
	TTL      time.Duration // zero: DefaultTTL
	Clock    Clock         // nil: HostClock

	// Report is called when the host begins, and when what keeps it from a lease
	// changes; may be nil.
	Report func(Standing)

	// TakeOver: any lease with its PublicIP is its own, as for all older releases.
	TakeOver bool
	// Freed are subnets whose leases have gone lately, oldest first. They are taken
	// when there are no others: their last host, or packets to it, may be about.
	Freed []Key

	// Avoid is what no lease of this host may overlap: the subnets that it is
	// itself in, if the network contains them.
	Avoid []netip.Prefix
}

// Acquired is a lease as it was taken.
type Acquired struct {
	Lease Lease
	Seen  Snapshot      // with the lease in it; following it from its revision misses nothing
	Sent  time.Duration // by the Clock: when the write was sent
}

// Acquire takes a lease: the host's own, found by its node id or, if the lease has
// none, by its PublicIP; else the previous subnet if it is free; else a random free
// one. It tries until it has one, or returns the error of ctx. It waits while the store
// does not answer, while the network is full, and while another node's lease has our
// PublicIP. It returns ErrTwin if a live host has our node id.
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
	a := acquirer{Request: r, store: store, log: log, refused: make(map[Key]int),
		race:  backoff.Backoff{Min: 10 * time.Millisecond, Max: 500 * time.Millisecond},
		down:  trouble{log: log, back: "etcd is back"},
		full:  trouble{log: log, back: "A subnet has become free"},
		rival: trouble{log: log, back: "No other node's lease has this host's PublicIP any more"}}
	a.report("")
	for {
		got, err := a.once(ctx)
		switch {
		case err == nil:
			a.down.over()
			a.full.over()
			a.rival.over()
			log.Info(fmt.Sprintf("Allocated lease (ip: %s ipv6: %s) to current node (%s)",
				got.Lease.V4.Subnet, orNone(got.Lease.V6.Subnet), r.Lease.V4.PublicIP))
			return got, nil
		case ctx.Err() != nil:
			return Acquired{}, ctx.Err()
		case errors.Is(err, ErrTwin):
			return Acquired{}, err
		}
		if err := a.wait(ctx, err); err != nil {
			return Acquired{}, err
		}
	}
}

// errRival: another node's lease has our PublicIP.
var errRival = errors.New("another node has this host's PublicIP")

// errAgain: something was cleared out of the way; list and decide again.
var errAgain = errors.New("leases have changed")

// stubborn is how often a key is refused before it counts as taken although no
// lease is listed there: more than a race explains, so it holds what is none.
const stubborn = 3

// acquirer is the state of Acquire.
type acquirer struct {
	Request
	store    Store
	log      *slog.Logger
	rev      Revision    // of the last listing
	refused  map[Key]int // how often Create found a key taken
	last     step        // that was logged
	reported *string     // the reason that Report was called with last
	pause    backoff.Backoff
	race     backoff.Backoff // after another host was quicker

	down, full, rival trouble // the store does not answer, the network is full, another node has our PublicIP

	// What we wrote over, or tried to, of a host that had our node id at another
	// address; zero: nothing.
	challenged Lease
}

func (a *acquirer) report(reason string) {
	if a.Report != nil && (a.reported == nil || *a.reported != reason) {
		a.reported = &reason
		a.Report(Standing{State: Acquiring, Reason: reason})
	}
}

// wait says why there is no lease yet, and waits until another try is worth it.
func (a *acquirer) wait(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrTaken), errors.Is(err, ErrLost), errors.Is(err, errAgain):
		a.log.Debug("Lost a race for a subnet; choosing again", "err", err)
		a.pause.Reset()
		return a.race.Wait(ctx)
	case errors.Is(err, config.ErrFull):
		a.full.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for one to become free", err),
			"hint", "widen Network, or delete the leases of hosts that are gone")
	case errors.Is(err, errRival):
		a.rival.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for that lease to go", err),
			"hint", "give each host its own PublicIP with --public-ip or --iface. If it is a lease that this host had before it was "+
				"reinstalled, delete it or start once with --take-over")
	default:
		a.report(err.Error())
		a.down.failed(fmt.Sprintf("Failed to acquire subnet: %v; trying again", err))
		return a.pause.Wait(ctx)
	}
	a.report(err.Error())
	a.down.over()
	if a.freed(ctx) {
		return nil
	}
	return a.pause.Wait(ctx)
}

// once lists, decides and does one step.
func (a *acquirer) once(ctx context.Context) (Acquired, error) {
	leases, rev, err := a.store.Leases(ctx)
	if err != nil {
		return Acquired{}, fmt.Errorf("list leases: %w", err)
	}
	a.rev = rev
	s, err := decide(leases, a.junk(), a.Request, nil)
	if err != nil {
		clear(a.refused) // perhaps they have become free
		return Acquired{}, err
	}
	a.say(s)
	lease := s.lease
	sent, _ := a.Clock()
	switch s.do {
	case drop:
		if err := a.store.Delete(ctx, s.lease); err != nil {
			return Acquired{}, err
		}
		return Acquired{}, errAgain
	case adopt:
		ttl := a.TTL
		if s.lease.Reserved() {
			ttl = 0
		}
		moved := s.was.Node != "" && s.was.V4.PublicIP != s.lease.V4.PublicIP
		if moved {
			if err := a.challenge(s.was); err != nil {
				return Acquired{}, err
			}
		}
		if lease, err = a.store.Renew(ctx, s.lease, ttl); err == nil && moved {
			lease, err = a.contested(ctx, lease)
		}
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
	return Acquired{lease, Snapshot{append(leases, lease), rev}, sent}, nil
}

// challenge notes whose lease is going to be written over. It returns ErrTwin if that
// host has written it since we did: it objects once, and to ask again would be to take
// the lease from it.
func (a *acquirer) challenge(was Lease) error {
	if c := a.challenged; c.Key() == was.Key() && c.V4.PublicIP == was.V4.PublicIP && was.Rev > c.Rev {
		return twin(was)
	}
	a.challenged = was
	return nil
}

func twin(l Lease) error { return fmt.Errorf("%w: %s is held at %s", ErrTwin, l.Key(), l.V4.PublicIP) }

// contest is how long a live host with our node id has to write its lease back.
const contest = 2 * time.Second

// contested gives the host that had our lease at another address the time to
// object: if it is alive, we are a copy of it.
func (a *acquirer) contested(ctx context.Context, lease Lease) (Lease, error) {
	if err := backoff.Sleep(ctx, min(contest, a.TTL/4)); err != nil {
		return Lease{}, err
	}
	leases, _, err := a.store.Leases(ctx)
	if err != nil {
		return Lease{}, fmt.Errorf("list leases: %w", err)
	}
	for _, l := range leases {
		switch {
		case l.Key() != lease.Key():
		case l.SameClaim(lease) && l.Node == lease.Node:
			return l, nil
		case l.Node == lease.Node:
			return Lease{}, twin(l)
		}
	}
	return Lease{}, errAgain
}

// freed waits until a lease goes, and for no longer than until the next reminder.
// It is false if none went that the store knows of.
func (a *acquirer) freed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reminder)
	defer cancel()
	for e, err := range a.store.Watch(ctx, a.rev) {
		if err != nil {
			return false
		}
		if e.Deleted {
			return true
		}
	}
	return false
}

// junk returns the keys that exist, say the store's answers, and are no leases.
func (a *acquirer) junk() []Key {
	var keys []Key
	for k, times := range a.refused {
		if times >= stubborn {
			keys = append(keys, k)
		}
	}
	return keys
}
