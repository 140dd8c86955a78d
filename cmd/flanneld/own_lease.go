package main

import (
	"context"
	"errors"
	"fmt"

	"flanneld/backend"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/subnet"
)

// request says what lease this host wants.
func (d *daemon) request(previous host.SubnetEnv) (subnet.Request, error) {
	r := subnet.Request{Config: d.cfg, Previous: previous.Key(), Avoid: d.local, TTL: d.opts.Tuning.LeaseTTL,
		TakeOver: d.opts.TakeOver, Report: d.entered}
	var err error
	if r.Lease, err = backend.Claims(d.backend, d.underlay, d.cfg.V6.Enabled()); err != nil {
		return r, fmt.Errorf("Error registering network: %w", err)
	}
	d.claimed = r.Lease
	r.Lease.Node = d.identity.Make(d.underlay.PublicV4)
	return r, nil
}

// errRevoked ends the daemon as older releases end when their lease is gone.
var errRevoked = errors.New("Lease has been revoked. Shutting down daemon.")

// acquire takes a lease; if a live host has this one's id, with another.
func (d *daemon) acquire(ctx context.Context, store subnet.Store, request *subnet.Request) (subnet.Acquired, error) {
	for {
		got, err := subnet.Acquire(ctx, store, *request, d.log)
		if !errors.Is(err, subnet.ErrTwin) {
			return got, err
		}
		d.rename(request, err)
	}
}

// rename gives the host another id: it is a copy of the one that has its own.
func (d *daemon) rename(request *subnet.Request, why error) {
	d.identity.Renew()
	d.log.Error("This host has a copy of another's state directory; it goes on as a new node. Make each host its own: "+
		"empty the state directory and /etc/machine-id before copying an image", "node", d.identity.ID(), "err", why)
	request.Lease.Node, request.Previous = d.identity.ID(), subnet.Key{}
}

// hold keeps the lease; if another host has it, it takes a new one. The
// datapath stays as it is meanwhile.
func (d *daemon) hold(ctx context.Context, request subnet.Request, got subnet.Acquired) error {
	request.TakeOver = false // a host that takes the lease from now on is alive
	for rebound := false; ; rebound = true {
		lease := got.Lease
		err := subnet.Hold(ctx, d.store, lease, subnet.Holding{
			TTL: request.TTL, Margin: d.opts.RenewMargin, Sent: got.Sent, Rebound: rebound,
			Unverified: d.basis.known != nil && !rebound,
			Surrender:  d.opts.LeaseLost == options.LeaseLostExit,
			View:       d.view, Log: d.log, Report: d.entered, Changes: d.claimsChanged, Ping: d.holding.Ask,
		})
		d.holding.Busy.Store(true) // to take a lease may take as long as etcd is away
		if !errors.Is(err, subnet.ErrLost) {
			return err
		}
		if d.opts.LeaseLost == options.LeaseLostExit {
			d.log.Error("Lease has been revoked", "err", err)
			return errRevoked
		}
		d.log.Error("Lease has been revoked. Taking another; Docker must be restarted with the new subnet", "err", err)
		request.Previous = lease.Key()
		if errors.Is(err, subnet.ErrTwin) {
			d.rename(&request, err)
		}
		request.Freed = d.view.Freed()
		d.mu.Lock()
		request.Lease, request.Avoid = claiming(request.Lease, d.claimed), d.local
		d.mu.Unlock()
		if got, err = d.acquire(ctx, d.store, &request); err != nil {
			return err
		}
		d.setLease(got.Lease)
		d.holding.Busy.Store(false)
	}
}

// entered is told how this host stands with its lease, and for how long. A host that has lost one
// has lost it until it has another.
func (d *daemon) entered(s subnet.Standing) {
	d.mu.Lock()
	if s.State == subnet.Acquiring && d.standing.State == subnet.Conflict {
		s = d.standing
	}
	was := d.standing.State
	d.standing = s
	switch {
	case !d.opts.Fence || s.State.Safe() == was.Safe():
	case was.Safe():
		d.log.Warn("Fence: nothing is forwarded until this host has a lease that is safe", "lease", s.State)
	case was != subnet.Acquiring:
		d.log.Info("Fence: forwarding again", "lease", s.State)
	}
	d.board.SetLease(s)
	d.mu.Unlock()
	poke(d.stood)
	if s.State != was {
		d.poke() // what is forwarded, or that the host is ready, may hang on it
	}
}

func (d *daemon) setLease(l subnet.Lease) {
	d.mu.Lock()
	d.lease = claiming(l, d.claimed)
	if d.standing.State != subnet.Conflict {
		d.standing = subnet.Standing{State: subnet.Held, Lease: l}
		d.board.SetLease(d.standing)
	}
	d.mu.Unlock()
	d.poke()
}

// poke makes the backend look again.
func (d *daemon) poke() { d.wake.Wake() }

// poke leaves a token in a channel of capacity one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// own returns the own lease, and how the host stands with it.
func (d *daemon) own() (subnet.Lease, subnet.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lease, d.standing.State
}
