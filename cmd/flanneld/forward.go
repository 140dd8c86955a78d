package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"flanneld/backend"
	"flanneld/subnet"
)

// forward runs the backend, and another one each time that the host has another
// external interface, or another address or MTU on it. What is in the kernel stays
// there meanwhile, but for what has those in it.
func (d *daemon) forward(ctx context.Context, changed <-chan struct{}) error {
	for {
		err := d.forwardOver(ctx, changed)
		moved, ok := errors.AsType[movedError](err)
		if !ok {
			return err
		}
		if err := d.move(moved); err != nil {
			return err
		}
	}
}

// forwardOver runs one backend.
func (d *daemon) forwardOver(ctx context.Context, changed <-chan struct{}) error {
	d.running.set(d.backend)
	defer d.running.set(nil)
	g, ctx := errgroup.WithContext(ctx)
	noticed := make(chan struct{}, 1)
	loop := backend.Loop{Backend: d.backend, Planes: d.planes, Changed: changed, Noticed: noticed,
		Resync: d.opts.Resync, Done: d.passed, Ledger: d.ledger, Asked: d.passes.Ask, Log: d.log}
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error {
		// The first pass makes thousands of changes: nobody needs to hear of them.
		select {
		case <-ctx.Done():
			return nil
		case <-d.passedOnce:
		}
		return d.kernel.Watch(ctx, d.scope, d.underlay.Name, noticed)
	})
	g.Go(func() error { return d.backend.Run(ctx) })
	return g.Wait()
}

// movedError ends a backend that another one is to follow.
type movedError struct {
	underlay backend.Underlay
	next     backend.Backend
}

func (movedError) Error() string { return "the host's external interface has changed" }

// followUnderlay returns a movedError if this host has another external interface than
// the backend and the peers know of, or another address or MTU on it.
func (d *daemon) followUnderlay() error {
	now, what := d.external.Look(d.underlay)
	if what == "" {
		return nil
	}
	if now != d.underlay {
		next, err := d.newBackend(now, inherited{d.descriptors, d.backend})
		if err == nil {
			return movedError{now, next}
		}
		what += ": " + err.Error()
	}
	d.external.Complain(what)
	return nil
}

// move takes the next backend, and tells the peers where this host is now: its
// lease keeps its subnet.
func (d *daemon) move(to movedError) error {
	was := d.underlay
	if was.V4 != to.underlay.V4 || was.V6 != to.underlay.V6 {
		d.log.Warn("This host's address has changed; following it", "interface", to.underlay.Name,
			"was", was.V4, "now", to.underlay.V4, "PublicIP", to.underlay.PublicV4)
	} else {
		d.log.Warn("The external interface has changed; following it", "interface", to.underlay.Name, "was", was.Name,
			"mtu", to.underlay.MTU, "before", was.MTU)
	}
	d.backend, d.underlay, d.guard.underlay = to.next, to.underlay, to.underlay
	if local, err := localSubnets(to.underlay.Name, d.cfg, d.log); err != nil {
		d.log.Debug("The subnets that this host is in are taken for those of before", "err", err)
	} else {
		d.mu.Lock()
		d.local = local
		d.mu.Unlock()
	}
	d.guard.poke() // the underlay's subnets are others
	d.store.Moved()
	d.health.serveCounters(to.next)
	claims, err := d.claims()
	if err != nil {
		return err
	}
	d.mu.Lock()
	same := claims == d.claimed
	d.claimed = claims
	d.lease = claiming(d.lease, claims)
	d.mu.Unlock()
	if same {
		return nil // of which no other host need hear
	}
	select {
	case <-d.claimsChanged: // an older one, which nobody has taken
	default:
	}
	d.claimsChanged <- claims // nobody else sends
	return nil
}

// claims returns what this host's lease says, without its subnets and its node.
func (d *daemon) claims() (l subnet.Lease, err error) {
	l.Type = d.backend.Type()
	l.V4.PublicIP = d.underlay.PublicV4
	if err = d.backend.Advertise(&l.V4); err == nil && d.cfg.V6.Enabled() {
		l.V6.PublicIP = d.underlay.PublicV6
		err = d.backend.Advertise(&l.V6)
	}
	return l, err
}

// claiming returns a lease with other claims on the same subnets.
func claiming(l, claims subnet.Lease) subnet.Lease {
	claims.V4.Subnet, claims.V6.Subnet = l.V4.Subnet, l.V6.Subnet
	l.V4, l.V6, l.Type = claims.V4, claims.V6, claims.Type
	return l
}

// inherited are Descriptors for a backend that follows another: what that one shares.
// What else the service manager keeps of it does not fit, and would be in the way.
type inherited struct {
	backend.Descriptors
	from backend.Backend
}

// Take implements backend.Descriptors.
func (i inherited) Take(name string) []int {
	if s, ok := i.from.(backend.Sharing); ok {
		if fds := s.Share(name); len(fds) > 0 {
			return fds
		}
	}
	_ = i.Remove(name) // if it fails, the next start finds both, and takes neither
	return nil
}
