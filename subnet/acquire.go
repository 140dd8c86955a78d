package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/backoff"
)

// Request says what lease a host wants.
type Request struct {
	Config   Config
	Lease    Lease         // what to publish; its subnets are not set. The IPv4 PublicIP is the host's identity
	Previous Key           // the subnets of the last run; zero if not known
	TTL      time.Duration // zero: DefaultTTL

	// Avoid is what no lease of this host may overlap: the subnets that it is
	// itself in, if the network contains them.
	Avoid []netip.Prefix
}

// Acquire takes a lease: the host's own, found by its PublicIP, else the
// previous subnet if it is free, else a random free one. It tries until it has
// one or ctx is done, whose error it then returns; a network that is full is
// waited for as a store that does not answer is. The snapshot has the host's
// lease in it, and following it from its revision misses nothing.
//
// Another host's lease is never written. If the outcome of a write is not known
// the next listing decides, by owner.
func Acquire(ctx context.Context, store Store, r Request, log *slog.Logger) (Lease, Snapshot, error) {
	if !r.Lease.V4.PublicIP.IsValid() {
		return Lease{}, Snapshot{}, errors.New("acquire lease: the host has no PublicIP to be known by")
	}
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	a := acquirer{Request: r, store: store, log: log, refused: make(map[Key]int)}
	down := trouble{log: log, back: "etcd is back"}
	full := trouble{log: log, back: "A subnet has become free"}
	pause, race := backoff.Backoff{}, backoff.Backoff{Min: 10 * time.Millisecond, Max: 500 * time.Millisecond}
	for {
		lease, seen, err := a.once(ctx)
		wait := &pause
		switch {
		case err == nil:
			down.over()
			full.over()
			log.Info(fmt.Sprintf("Allocated lease (ip: %s ipv6: %s) to current node (%s)",
				lease.V4.Subnet, orNone(lease.V6.Subnet), r.Lease.V4.PublicIP))
			return lease, seen, nil
		case ctx.Err() != nil:
			return Lease{}, Snapshot{}, ctx.Err()
		case errors.Is(err, ErrTaken), errors.Is(err, ErrLost), errors.Is(err, errAgain):
			log.Debug("Lost a race for a subnet; choosing again", "err", err)
			pause.Reset()
			wait = &race
		case errors.Is(err, ErrFull):
			down.over()
			full.failed(fmt.Sprintf("Failed to acquire subnet: %v; waiting for one to become free", err),
				"hint", "widen Network, or delete the leases of hosts that are gone")
			if a.freed(ctx) {
				continue
			}
		default:
			down.failed(fmt.Sprintf("Failed to acquire subnet: %v; trying again", err))
		}
		if err := wait.Wait(ctx); err != nil {
			return Lease{}, Snapshot{}, err
		}
	}
}

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
}

// once lists, decides and does one step.
func (a *acquirer) once(ctx context.Context) (Lease, Snapshot, error) {
	leases, rev, err := a.store.Leases(ctx)
	if err != nil {
		return Lease{}, Snapshot{}, fmt.Errorf("list leases: %w", err)
	}
	a.rev = rev
	s, err := decide(leases, a.junk(), a.Request, nil)
	if err != nil {
		clear(a.refused) // perhaps they have become free
		return Lease{}, Snapshot{}, err
	}
	a.say(s)
	lease := s.lease
	switch s.do {
	case drop:
		if err := a.store.Delete(ctx, s.lease); err != nil {
			return Lease{}, Snapshot{}, err
		}
		return Lease{}, Snapshot{}, errAgain
	case adopt:
		ttl := a.TTL
		if s.lease.Reserved() {
			ttl = 0
		}
		lease, err = a.store.Renew(ctx, s.lease, ttl)
	case reuse, create:
		lease, err = a.store.Create(ctx, s.lease, a.TTL)
		if errors.Is(err, ErrTaken) {
			a.refused[s.lease.Key()]++
		}
	}
	if err != nil {
		return Lease{}, Snapshot{}, err
	}
	leases = slices.DeleteFunc(leases, func(l Lease) bool { return l.Key() == lease.Key() })
	return lease, Snapshot{append(leases, lease), rev}, nil
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
// what is no lease. It returns ErrFull if there is nothing to choose from. A nil
// rnd is the shared source.
//
// A reservation is never deleted: an operator made it, and no host can make it
// again.
func decide(leases []Lease, junk []Key, r Request, rnd *rand.Rand) (step, error) {
	var s step
	var ours, unfit []Lease
	for _, l := range leases {
		switch {
		case l.V4.PublicIP != r.Lease.V4.PublicIP:
		case r.fits(l.Key()):
			ours = append(ours, l)
		case l.Reserved():
			s.stuck = l
		default:
			unfit = append(unfit, l)
		}
	}
	if len(ours) > 0 {
		l := slices.MinFunc(ours, Lease.Compare)
		if i := slices.IndexFunc(ours, func(o Lease) bool { return o.Key() == r.Previous }); i >= 0 {
			l = ours[i]
		}
		s.do, s.was, s.lease = adopt, l, r.at(l.Key())
		s.lease.Rev, s.lease.Expires = l.Rev, l.Expires
		return s, nil
	}
	if len(unfit) > 0 {
		s.do, s.lease = drop, unfit[0]
		return s, nil
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
	var k Key
	var err error
	if k.V4, err = Free(r.Config.V4, taken4, rnd); err != nil {
		return step{}, err
	}
	if r.Config.V6.Enabled() {
		if k.V6, err = Free(r.Config.V6, taken6, rnd); err != nil {
			return step{}, err
		}
	}
	s.do, s.lease = create, r.at(k)
	return s, nil
}

// compatible reports whether a lease on k is one that the configuration allows.
func (c Config) compatible(k Key) bool {
	return c.V4.Contains(k.V4) && k.V6.IsValid() == c.V6.Enabled() && (!k.V6.IsValid() || c.V6.Contains(k.V6))
}

// fits reports whether this host may have a lease on k.
func (r Request) fits(k Key) bool {
	return r.Config.compatible(k) && !slices.ContainsFunc(r.Avoid, func(p netip.Prefix) bool {
		return overlap(k.V4, p) || overlap(k.V6, p)
	})
}

// at returns the lease that the request wants, on the given subnets.
func (r Request) at(k Key) Lease {
	l := r.Lease
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return l
}
