package subnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"flanneld/pkg/backoff"
)

// Request says what lease a host wants.
type Request struct {
	Config   Config
	Lease    Lease         // what to publish; its subnets are not set
	Previous Key           // the subnets of the last run; zero if not known
	TTL      time.Duration // zero: DefaultTTL
}

// Acquire takes a lease: the host's own, found by its PublicIP, else the
// previous subnet if it is free, else a random free one. It tries until it has
// one or ctx is done. The leases that it saw, without this one, are returned
// too; following them from their revision misses nothing.
//
// Another host's lease is never written. If the outcome of a write is not known
// the next listing decides, by owner.
func Acquire(ctx context.Context, store Store, r Request, log *slog.Logger) (Lease, Snapshot, error) {
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	t := trouble{log: log, what: "Failed to acquire subnet"}
	pause := backoff.Backoff{}
	for {
		lease, seen, err := acquireOnce(ctx, store, r, log)
		if err == nil {
			t.over()
			log.Info(fmt.Sprintf("Allocated lease (ip: %s ipv6: %s) to current node (%s)",
				lease.V4.Subnet, orNone(lease.V6.Subnet), r.Lease.V4.PublicIP))
			return lease, seen, nil
		}
		if ctx.Err() != nil {
			return Lease{}, Snapshot{}, ctx.Err()
		}
		if errors.Is(err, ErrTaken) || errors.Is(err, ErrLost) || errors.Is(err, errAgain) {
			log.Debug("Lost a race for a subnet; choosing again", "err", err)
		} else {
			t.failed(err)
		}
		if err := pause.Wait(ctx); err != nil {
			return Lease{}, Snapshot{}, err
		}
	}
}

// errAgain: something was cleared out of the way; list and decide again.
var errAgain = errors.New("leases have changed")

func acquireOnce(ctx context.Context, store Store, r Request, log *slog.Logger) (Lease, Snapshot, error) {
	leases, rev, err := store.Leases(ctx)
	if err != nil {
		return Lease{}, Snapshot{}, fmt.Errorf("list leases: %w", err)
	}
	s, err := decide(leases, r)
	if err != nil {
		return Lease{}, Snapshot{}, err
	}
	s.log(r, log)
	var lease Lease
	switch s.do {
	case drop:
		if err := store.Delete(ctx, s.lease); err != nil {
			return Lease{}, Snapshot{}, err
		}
		return Lease{}, Snapshot{}, errAgain
	case adopt:
		ttl := r.TTL
		if s.lease.Reserved() {
			ttl = 0
		}
		lease, err = store.Renew(ctx, s.lease, ttl)
	default:
		lease, err = store.Create(ctx, s.lease, r.TTL)
	}
	return lease, Snapshot{leases, rev}, err
}

// step is what a host does next on its way to a lease.
type step struct {
	do    action
	lease Lease
	taken Lease // who has the previous subnet, if somebody else has
}

type action int

const (
	adopt  action = iota // write our value over our own key
	drop                 // delete our own key: the configuration has changed
	reuse                // create the previous subnet's key
	create               // create a random one
)

// decide chooses the next step from all leases.
func decide(leases []Lease, r Request) (step, error) {
	var own []Lease
	for _, l := range leases {
		if l.V4.PublicIP == r.Lease.V4.PublicIP {
			own = append(own, l)
		}
	}
	for _, l := range own {
		if !r.Config.compatible(l.Key()) {
			return step{do: drop, lease: l}, nil
		}
	}
	if len(own) > 0 {
		l := own[0]
		for _, o := range own {
			if o.Key() == r.Previous {
				l = o
			}
		}
		ours := r.at(l.Key())
		ours.Rev, ours.Expires = l.Rev, l.Expires
		return step{do: adopt, lease: ours}, nil
	}
	var taken4, taken6 []netip.Prefix
	var s step
	for _, l := range leases {
		taken4, taken6 = append(taken4, l.V4.Subnet), append(taken6, l.V6.Subnet)
		if overlaps(l.V4.Subnet, r.Previous.V4) || overlaps(l.V6.Subnet, r.Previous.V6) {
			s.taken = l
		}
	}
	if s.taken.V4.IsZero() && r.Config.compatible(r.Previous) {
		return step{do: reuse, lease: r.at(r.Previous)}, nil
	}
	var k Key
	var err error
	if k.V4, err = Free(r.Config.V4, taken4); err != nil {
		return step{}, err
	}
	if r.Config.V6.Enabled() {
		if k.V6, err = Free(r.Config.V6, taken6); err != nil {
			return step{}, err
		}
	}
	s.do, s.lease = create, r.at(k)
	return s, nil
}

func overlaps(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }

// compatible reports whether a lease on k is one that the configuration allows.
func (c Config) compatible(k Key) bool {
	return c.V4.Contains(k.V4) && (k.V6.IsValid() == c.V6.Enabled()) && (!k.V6.IsValid() || c.V6.Contains(k.V6))
}

// at returns the lease that the request wants, on the given subnets.
func (r Request) at(k Key) Lease {
	l := r.Lease
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return l
}

// log says what is about to be done, in the original's words.
func (s step) log(r Request, log *slog.Logger) {
	ip := r.Lease.V4.PublicIP
	switch s.do {
	case adopt:
		log.Info(fmt.Sprintf("Found lease (%s) for current IP (%s), reusing", s.lease.Key(), ip))
	case drop:
		log.Info(fmt.Sprintf("Found lease (%s) for current IP (%s) but not compatible with current config, deleting", s.lease.Key(), ip))
	case reuse:
		log.Info(fmt.Sprintf("Found previously leased subnet (%s), reusing", s.lease.Key()))
	case create:
		switch {
		case !s.taken.V4.IsZero():
			log.Warn(fmt.Sprintf("Previously leased subnet (%s) is leased to another host, taking another", r.Previous),
				"PublicIP", s.taken.V4.PublicIP)
		case r.Previous.V4.IsValid():
			log.Warn(fmt.Sprintf("Previously leased subnet (%s) not compatible with the Etcd network config, ignoring", r.Previous))
		}
		log.Info(fmt.Sprintf("Picking subnet in range %s ... %s", r.Config.V4.Min, r.Config.V4.Max))
	}
}

func orNone(p netip.Prefix) string {
	if !p.IsValid() {
		return "<nil>"
	}
	return p.String()
}
