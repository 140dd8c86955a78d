package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet/config"
)

// Request says what lease a host wants.
type Request struct {
	Config   config.Config
	Lease    Lease         // what to publish; its subnets are not set. By its Node and IPv4 PublicIP the host is known
	Previous Key           // the subnets of the last run; zero if not known
	TTL      time.Duration // zero: DefaultTTL
	Clock    Clock         // nil: HostClock

	// Report is called when the host begins, and when what keeps it from a lease
	// changes; nil: not.
	Report func(Standing)

	// Forgot: the host has lost its node id. A lease with its PublicIP is its own,
	// whatever node it names, if it is of the Previous subnet, or if the node's id
	// begins with Machine.
	Forgot bool
	// Machine is what all ids begin with that this machine makes; empty: nothing.
	Machine string
	// Stateless is the id that the host has while it cannot keep one; empty: none. A
	// lease with its PublicIP and this is its own.
	Stateless string
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
// one. It tries until it has one or ctx is done, whose error it then returns; a
// network that is full is waited for as a store that does not answer is, and so is
// the end of another node's lease with our PublicIP. It returns ErrTwin if a live
// host has our node id.
//
// Another host's lease is never written. If the outcome of a write is not known
// the next listing decides, by owner.
func Acquire(ctx context.Context, store Store, r Request, log *slog.Logger) (Acquired, error) {
	if !r.Lease.V4.PublicIP.IsValid() {
		return Acquired{}, errors.New("acquire lease: the host has no PublicIP to be known by")
	}
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	if r.Clock == nil {
		r.Clock = HostClock
	}
	a := acquirer{Request: r, store: store, log: log, refused: make(map[Key]int)}
	down := trouble{log: log, back: "etcd is back"}
	full := trouble{log: log, back: "A subnet has become free"}
	rival := trouble{log: log, back: "No other node's lease has this host's PublicIP any more"}
	a.entered("")
	pause, race := backoff.Backoff{}, backoff.Backoff{Min: 10 * time.Millisecond, Max: 500 * time.Millisecond}
	for {
		got, err := a.once(ctx)
		wait := &pause
		switch {
		case err == nil:
			down.over()
			full.over()
			rival.over()
			log.Info(fmt.Sprintf("Allocated lease (ip: %s ipv6: %s) to current node (%s)",
				got.Lease.V4.Subnet, orNone(got.Lease.V6.Subnet), r.Lease.V4.PublicIP))
			return got, nil
		case ctx.Err() != nil:
			return Acquired{}, ctx.Err()
		case errors.Is(err, ErrTwin):
			return Acquired{}, err
		case errors.Is(err, ErrTaken), errors.Is(err, ErrLost), errors.Is(err, errAgain):
			log.Debug("Lost a race for a subnet; choosing again", "err", err)
			pause.Reset()
			wait = &race
		case errors.Is(err, config.ErrFull):
			a.entered(err.Error())
			down.over()
			full.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for one to become free", err),
				"hint", "widen Network, or delete the leases of hosts that are gone")
			if a.freed(ctx) {
				continue
			}
		case errors.Is(err, errRival):
			a.entered(err.Error())
			down.over()
			rival.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for that lease to go", err),
				"hint", "give each host its own PublicIP with --public-ip or --iface. If it is a lease that this host had before it was "+
					"reinstalled, delete it or start once with --take-over")
			if a.freed(ctx) {
				continue
			}
		default:
			a.entered(err.Error())
			down.failed(fmt.Sprintf("Failed to acquire subnet: %v; trying again", err))
		}
		if err := wait.Wait(ctx); err != nil {
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
	store   Store
	log     *slog.Logger
	rev     Revision    // of the last listing
	refused map[Key]int // how often Create found a key taken
	last    step        // that was logged
	told    *string     // the reason that Report was called with last

	// What we wrote over, or tried to, of a host that had our node id at another
	// address; zero: nothing.
	challenged Lease
}

func (a *acquirer) entered(reason string) {
	if a.Report != nil && (a.told == nil || *a.told != reason) {
		a.told = &reason
		a.Report(Standing{State: Acquiring, Reason: reason})
	}
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

// step is what a host does next on its way to a lease.
type step struct {
	do    action
	lease Lease // to write or, if do is drop, to delete
	was   Lease // what adopt writes over
	taken Lease // who has the previous subnet; zero if nobody has
	stuck Lease // our reservation that the configuration does not allow; zero if there is none
}

type action int

const (
	adopt  action = iota + 1 // write our value over our own key
	drop                     // delete our own lease: the configuration has changed
	reuse                    // create the previous subnet's key
	create                   // create a random one
)

// decide chooses the next step from all leases and the keys that are taken by
// what is no lease. It returns config.ErrFull if there is nothing to choose from. A nil
// rnd is the shared source.
//
// A reservation is never deleted: an operator made it, and no host can make it
// again.
func decide(leases []Lease, junk []Key, r Request, rnd *rand.Rand) (step, error) {
	var s step
	own, unfit, rival := r.own(leases)
	if i := slices.IndexFunc(unfit, Lease.Reserved); i >= 0 {
		s.stuck = unfit[i]
		unfit = slices.DeleteFunc(unfit, Lease.Reserved)
	}
	if len(own) > 0 {
		l := own[0]
		if i := slices.IndexFunc(own, func(o Lease) bool { return o.Key() == r.Previous }); i >= 0 {
			l = own[i]
		}
		s.do, s.was, s.lease = adopt, l, r.at(l.Key())
		s.lease.Rev, s.lease.Expires = l.Rev, l.Expires
		return s, nil
	}
	if len(unfit) > 0 {
		s.do, s.lease = drop, unfit[0]
		return s, nil
	}
	if rival.Key() != (Key{}) {
		return step{}, fmt.Errorf("%w: %s is leased to %s, and this host is node %s", errRival, rival.Key(), rival.holder(), r.Lease.Node)
	}
	for _, k := range junk {
		var l Lease
		l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
		leases = append(slices.Clip(leases), l)
	}
	taken4, taken6 := make([]netip.Prefix, len(leases)), make([]netip.Prefix, len(leases))
	for i, l := range leases {
		taken4[i], taken6[i] = l.V4.Subnet, l.V6.Subnet
		if l.Key().Overlaps(r.Previous) {
			s.taken = l
		}
	}
	if s.taken.Key() == (Key{}) && r.fits(r.Previous) {
		s.do, s.lease = reuse, r.at(r.Previous)
		return s, nil
	}
	taken4, taken6 = append(taken4, r.Avoid...), append(taken6, r.Avoid...)
	var freed4, freed6 []netip.Prefix
	for _, k := range r.Freed {
		freed4, freed6 = append(freed4, k.V4), append(freed6, k.V6)
	}
	var k Key
	var err error
	if k.V4, err = config.FreeLast(r.Config.V4, taken4, freed4, rnd); err != nil {
		return step{}, err
	}
	if r.Config.V6.Enabled() {
		if k.V6, err = config.FreeLast(r.Config.V6, taken6, freed6, rnd); err != nil {
			return step{}, err
		}
	}
	s.do, s.lease = create, r.at(k)
	return s, nil
}

// own returns the host's own leases, sorted, those that it may have and those that
// it may not, and one of another node with its PublicIP; zero if there is none.
// What has its node id comes before what has its PublicIP only.
func (r Request) own(leases []Lease) (fit, unfit []Lease, rival Lease) {
	var known, seems []Lease
	for _, l := range leases {
		switch whose(l, r.Lease.Node, r.Lease.V4.PublicIP) {
		case twins:
			known = append(known, l)
		case ours:
			if l.Node != "" {
				known = append(known, l)
			} else {
				seems = append(seems, l)
			}
		case rivals:
			same := l.Key() == r.Previous || r.Machine != "" && strings.HasPrefix(l.Node, r.Machine)
			if r.TakeOver || r.Forgot && same || r.Stateless != "" && l.Node == r.Stateless {
				seems = append(seems, l)
			} else {
				rival = l
			}
		}
	}
	slices.SortFunc(known, Lease.Compare)
	slices.SortFunc(seems, Lease.Compare)
	for _, l := range append(known, seems...) {
		if r.fits(l.Key()) {
			fit = append(fit, l)
		} else {
			unfit = append(unfit, l)
		}
	}
	return fit, unfit, rival
}

// fits reports whether this host may have a lease on k.
func (r Request) fits(k Key) bool {
	return r.Config.Allows(k.V4, k.V6) && !slices.ContainsFunc(r.Avoid, func(p netip.Prefix) bool {
		return overlap(k.V4, p) || overlap(k.V6, p)
	})
}

// at returns the lease that the request wants, on the given subnets.
func (r Request) at(k Key) Lease {
	l := r.Lease
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return l
}
