package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flanneld/subnet"
)

// request says what lease this host wants.
func (d *daemon) request(previous subnetEnv) (subnet.Request, error) {
	r := subnet.Request{Config: d.cfg, Previous: previous.key(), Avoid: d.local}
	r.Lease.Type = d.backend.Type()
	r.Lease.V4.PublicIP = d.underlay.PublicV4
	claims := []*subnet.Claim{&r.Lease.V4}
	if d.cfg.V6.Enabled() {
		r.Lease.V6.PublicIP = d.underlay.PublicV6
		claims = append(claims, &r.Lease.V6)
	}
	for _, c := range claims {
		if err := d.backend.Advertise(c); err != nil {
			return r, fmt.Errorf("Error registering network: %w", err)
		}
	}
	return r, nil
}

// hold keeps the lease; if another host has it, it takes a new one. The
// datapath stays as it is meanwhile. Since is a moment before the lease was asked
// for.
func (d *daemon) hold(ctx context.Context, request subnet.Request, lease subnet.Lease, since time.Time) error {
	for {
		err := subnet.Hold(ctx, d.store, lease, subnet.Holding{
			TTL: request.TTL, Margin: d.opts.RenewMargin, Since: since, View: d.view, Log: d.log, Asked: d.holding.ask,
		})
		d.holding.away.Store(true) // to take a lease may take as long as etcd is away
		if !errors.Is(err, subnet.ErrLost) {
			return err
		}
		d.log.Error("Lease has been revoked. Taking another; Docker must be restarted with the new subnet", "err", err)
		d.setLost()
		request.Previous = lease.Key()
		since = time.Now()
		if lease, _, err = subnet.Acquire(ctx, d.store, request, d.log); err != nil {
			return err
		}
		d.setLease(lease)
		d.holding.away.Store(false)
	}
}

// setLost makes the host unready until there is another lease and the subnet file
// has it.
func (d *daemon) setLost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost = true
	d.ready(false)
	d.tell.status("lost the lease on " + d.lease.Key().String())
}

// setReady follows a pass after which the subnet file has the lease.
func (d *daemon) setReady(l subnet.Lease, peers int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost || d.lease.Key() != l.Key() {
		return // since the pass began
	}
	d.ready(true)
	d.tell.status(fmt.Sprintf("%s %s, %d peers", l.Key(), d.cfg.Type, peers))
}

func (d *daemon) setLease(l subnet.Lease) {
	d.mu.Lock()
	d.lease, d.lost = l, false
	d.mu.Unlock()
	wake(d.moved)
}

// wake puts a token into a channel of capacity one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (d *daemon) ownLease() subnet.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lease
}
