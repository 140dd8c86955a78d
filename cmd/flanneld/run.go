package main

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/loop"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/boot"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/systemd"
	"flanneld/subnet"
	"flanneld/subnet/cache"
)

// run holds the lease, forwards, and tells others, until ctx is done. The leases are
// followed from the revision on.
func (d *daemon) run(ctx context.Context, rev subnet.Revision) error {
	d.server.SetCounters(d.counters)
	passes := systemd.NewProbe("keeps the datapath in step")
	d.loop.Alive = passes.Ask
	alive := []func(context.Context) error{passes.Alive, d.tenant.Alive, d.loop.CheckForwarder}

	d.log.Info("Running backend.")
	g, ctx := errgroup.WithContext(ctx)
	for _, changed := range []<-chan struct{}{d.view.Subscribe(), d.firewall.First()} {
		g.Go(func() error { return d.wakeFor(ctx, changed) })
	}
	g.Go(func() error { return d.loop.Run(ctx, d.backend, d.underlay) })
	g.Go(func() error { return d.firewall.Run(ctx) })
	g.Go(func() error {
		heard := boot.Heard(d.store, func() { d.board.SetEtcdAway(false) })
		return subnet.Follow(ctx, heard, d.view, rev, d.log)
	})
	g.Go(func() error { return d.tenant.Run(ctx) })
	g.Go(func() error { return d.reader.Watch(ctx, d.origin.Config, d.origin.Rev()) })
	if d.kept { // or it would not last until the next start
		g.Go(func() error { return d.cache.Keep(ctx, d.passed, d.standing, d.view, d.known) })
	}
	g.Go(func() error { return status.LogCounters(ctx, d.counters, d.log) })
	watch := host.Watch{Bridge: d.opts.DockerBridge, Forward: d.origin.Config.Type != alloc.Type, Told: d.docker.Told,
		Trouble: d.board.SetTrouble, Log: d.log}
	g.Go(func() error { return watch.Run(ctx) })
	reload := host.Reload{Docker: d.docker, Notify: d.notify, Wake: d.wake, Log: d.log,
		Compare: func(ctx context.Context) { d.reader.Compare(ctx, d.origin.Config) }}
	g.Go(func() error { return reload.Run(ctx, d.reload) })
	g.Go(func() error {
		return systemd.FeedWatchdog(ctx, systemd.WatchdogInterval(d.log), alive, d.notify)
	})
	return g.Wait()
}

// wakeFor wakes the loop for each token, until ctx is done.
func (d *daemon) wakeFor(ctx context.Context, changed <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		d.wake.Wake()
	}
}

// counters returns what the backend counts or, if the kernel moves the packets, the
// firewall.
func (d *daemon) counters() []backend.Counter {
	c, ok := d.loop.Counters()
	if !ok && d.origin.Config.Type != alloc.Type {
		return d.firewall.Counters()
	}
	return c
}

// planes begins a pass.
func (d *daemon) planes() ([]backend.Plane, []backend.Fault) {
	d.docker.Begin()
	own, s := d.tenant.State()
	leases := d.view.Leases()
	if s.State == subnet.Conflict { // the lease that is being taken may be there already
		leases = slices.DeleteFunc(leases, func(l subnet.Lease) bool {
			return l.Key() != own.Key() && l.V4.PublicIP == own.V4.PublicIP
		})
	}
	cfg := d.origin.Config
	return backend.Planes(backend.Members{V4: cfg.V4.Network, V6: cfg.V6.Network, Own: own, Leases: leases,
		Local: d.local, Blackhole: d.opts.BlackholeRoute, Fenced: d.opts.Fence && !s.State.Safe()})
}

// done follows a pass.
func (d *daemon) done(p loop.Pass) error {
	d.first.Do(func() { close(d.passed) })
	if !p.Ready {
		d.docker.Incomplete(p.Err)
		return nil
	}
	lease, s := d.tenant.State()
	return d.docker.Done(lease, s.State, p.MTU, p.Peers)
}

// moved follows a move of the host: it tells the peers where this host is now. Its
// lease keeps its subnet.
func (d *daemon) moved(to backend.Underlay, next backend.Backend) error {
	if local, err := underlay.Local(to.Name, d.networks(), d.log); err == nil {
		d.local = local
	} else {
		d.log.Debug("The subnets that this host is in are taken for those of before", "err", err)
	}
	d.firewall.SetUnderlay(to.Name)
	d.store.Moved()
	claims, err := backend.Claims(next, to, d.origin.Config.V6.Enabled())
	if err == nil {
		d.tenant.Publish(claims, d.local)
	}
	return err
}

// standingChanged is told how this host stands with its lease.
func (d *daemon) standingChanged(was, now subnet.Standing) {
	switch {
	case !d.opts.Fence || now.State.Safe() == was.State.Safe():
	case was.State.Safe():
		d.log.Warn("Fence: nothing is forwarded until this host has a lease that is safe", "lease", now.State)
	case was.State != 0 && was.State != subnet.Acquiring:
		d.log.Info("Fence: forwarding again", "lease", now.State)
	}
	d.board.SetLease(now)
	d.standing.Wake()
	if now.State != was.State || now.Lease.Key() != was.Lease.Key() {
		d.wake.Wake() // this may change what is forwarded, or that the host is ready
	}
}

// known returns what the next start may go on, if anything.
func (d *daemon) known() (cache.Known, bool) {
	_, s := d.tenant.State()
	return d.cache.Known(s, d.origin.Document, d.view.Leases())
}
