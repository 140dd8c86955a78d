package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/fdstore"
	"flanneld/pkg/statedir"
	"flanneld/subnet"
)

// routeProtocol marks our routes (rtnetlink(7)). No registered routing daemon
// has this number.
const routeProtocol = 102

// serve runs the daemon, and beside it what tells others how it is, until ctx is
// done or it fails.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	tell := &notifier{log: log}
	// From now on: until then the signal ends the process, as it does any.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	h, err := listenHealth(o, log)
	if err != nil {
		tell.stopping()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g sync.WaitGroup
	g.Go(func() { h.run(ctx) })
	g.Go(func() {
		<-ctx.Done()
		tell.stopping() // at once, however long the rest takes
	})
	err = start(ctx, o, h, tell, reload, log)
	cancel()
	g.Wait()
	return err
}

// start first does what only reads, then what changes the machine, and runs until
// ctx is done.
func start(ctx context.Context, o options, h *health, tell *notifier, reload <-chan os.Signal, log *slog.Logger) error {
	started := easeStart()
	kept := fdstore.Open()
	store, err := newStore(o, log)
	if err != nil {
		return err
	}
	ahead := subnet.ListAhead(ctx, store)
	previous := readSubnetEnv(o.SubnetFile, log)
	log.Info("Created subnet manager: Etcd Local Manager with Previous Subnet: " + previous.subnetOrNone())
	tell.status("waiting for the network configuration")
	cfg, rev, err := awaitConfig(ctx, store, sync.OnceFunc(func() { sayUnderlay(o, log) }), log)
	if err != nil {
		return err
	}
	log.Info("Found network config - Backend type: " + cfg.Type)
	underlay, err := findUnderlay(o, cfg, log)
	if err != nil {
		return err
	}
	local, err := localSubnets(underlay.Name, cfg, log)
	if err != nil {
		return err
	}
	state, err := statedir.Open(o.StateDir)
	if err != nil {
		log.Warn("The state directory cannot be written; a reboot will change the device's MAC. "+
			"Give a writable one with --state-dir", "dir", o.StateDir, "err", err)
	}
	kern := kernel.New(log)
	scope := datapath.Scope{
		Owner:    aliasPrefix + o.EtcdPrefix,
		Links:    leftovers(previous, log),
		Networks: networks(cfg, previous),
		Protocol: routeProtocol,
	}
	newBackend, err := chooseBackend(cfg)
	if err != nil {
		return err
	}
	if changesNetwork(cfg.Type) {
		// Before the lease: nobody could use it.
		if err := checkPrivilege(); err != nil {
			return fmt.Errorf("Error registering network: %w", err)
		}
	}
	ledger := &backend.Ledger{Kernel: kern}
	be, err := newBackend(backend.Params{
		Config: cfg.Backend, Underlay: underlay, Scope: scope, Kernel: ledger, State: state, Log: log,
		Filter: backend.Filter{Off: !o.PeerFilter, Allow: o.PeerAllow}, Without: o.UDPOffload, Descriptors: kept,
	})
	if err != nil {
		return fmt.Errorf("Error fetching backend: %w", err)
	}
	if err := kept.Close(); err != nil { // another backend's
		log.Warn("Cannot forget files of the last run", "err", err)
	}
	counters := h.serveCounters(be)
	d := &daemon{opts: o, cfg: cfg, rev: rev, store: store, backend: be, scope: scope, kernel: kern, ledger: ledger,
		underlay: underlay, local: local, external: underlayCheck{underlay: underlay, log: log},
		view: subnet.NewView(), ready: h.setReady, counters: counters, tell: tell, log: log, moved: make(chan struct{}, 1),
		passedOnce: make(chan struct{}), started: started,
		passes: newLifeline("keeps the datapath in step"), holding: newLifeline("holds the lease")}
	return d.run(ctx, ahead, previous, reload)
}

// daemon is a host with a backend, on its way to a lease or holding one.
type daemon struct {
	opts     options
	cfg      subnet.Config
	rev      subnet.Revision // of the configuration
	store    subnet.Store
	backend  backend.Backend
	scope    datapath.Scope
	kernel   *kernel.Kernel
	ledger   *backend.Ledger // the kernel as the backend sees it
	underlay backend.Underlay
	local    []netip.Prefix // subnets that this host itself is in
	view     *subnet.View
	ready    func(bool)
	counters func() []backend.Counter // nil: the backend has none
	passes   *lifeline
	holding  *lifeline
	tell     *notifier
	log      *slog.Logger
	moved    chan struct{} // the own lease has changed

	mu       sync.Mutex
	lease    subnet.Lease // the own one
	lost     bool         // another host has it, and another one is being taken
	complain complaints
	// Only the loop's goroutine uses these.
	handedOver handover // what subnet.env says
	reloading  bool     // this pass was asked for by a reload
	external   underlayCheck

	handed     atomic.Bool   // subnet.env is there, and systemd knows
	reload     atomic.Bool   // the next pass is to look at subnet.env, too
	passedOnce chan struct{} // closed after the first pass
	started    func()        // called when the host is ready
	once       sync.Once
}

// run takes a lease, for which ahead is asked first, and holds it.
func (d *daemon) run(ctx context.Context, ahead subnet.Store, previous subnetEnv, reload <-chan os.Signal) error {
	request, err := d.request(previous)
	if err != nil {
		return err
	}
	since := time.Now()
	lease, seen, err := subnet.Acquire(ctx, ahead, request, d.log)
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	d.view.Reset(seen)
	d.setLease(lease)

	d.log.Info("Running backend.")
	g, ctx := errgroup.WithContext(ctx)
	noticed := make(chan struct{}, 1)
	changed := merge(ctx, g, d.view.Subscribe(), d.moved)
	loop := backend.Loop{Backend: d.backend, Planes: d.planes, Changed: changed, Noticed: noticed,
		Resync: d.opts.Resync, Done: d.passed, Ledger: d.ledger, Asked: d.passes.ask, Log: d.log}
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
	g.Go(func() error { return subnet.Follow(ctx, d.store, d.view, seen.Rev, d.log) })
	g.Go(func() error { return d.hold(ctx, request, lease, since) })
	g.Go(func() error { return logCounters(ctx, d.counters, d.log) })
	g.Go(func() error { return watchConfig(ctx, d.store, d.cfg, d.rev, d.log) })
	g.Go(func() error { return d.reloads(ctx, reload) })
	g.Go(func() error {
		return feedWatchdog(ctx, watchdogTime(d.log), d.lifelines(), d.tell.alive, d.log)
	})
	return g.Wait()
}

// merge passes tokens on from several channels, until ctx is done.
func merge(ctx context.Context, g *errgroup.Group, from ...<-chan struct{}) <-chan struct{} {
	into := make(chan struct{}, 1)
	for _, c := range from {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-c:
				}
				wake(into)
			}
		})
	}
	return into
}
