package main

import (
	"context"
	"errors"
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
	"flanneld/backend/alloc"
	"flanneld/backend/firewall"
	"flanneld/backend/loop"
	"flanneld/backend/udp"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netif"
	"flanneld/pkg/statedir"
	"flanneld/pkg/systemd"
	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
	identity "flanneld/subnet/node"
)

// routeProtocol marks our routes (rtnetlink(7)). No registered routing daemon
// has this number.
const routeProtocol = 102

// serve runs the daemon, and beside it what tells others how it is, until ctx is
// done or it fails.
func serve(ctx context.Context, o options.Daemon, log *slog.Logger) error {
	tell := &systemd.Notifier{Log: log}
	// From now on: until then the signal ends the process, as it does any.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	board := status.NewBoard(tell.Status)
	h, err := status.Listen(o.HealthzIP, o.HealthzPort, board, log)
	if err != nil {
		board.Fail(err)
		tell.Stopping()
		return err
	}
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g sync.WaitGroup
	g.Go(func() { h.Run(ctx) })
	g.Go(func() {
		<-ctx.Done()
		tell.Stopping() // at once, however long the rest takes
	})
	err = start(ctx, o, h, board, tell, reload, log)
	if err != nil && asked.Err() == nil {
		board.Fail(err)
	}
	cancel()
	g.Wait()
	return err
}

// start first does what only reads, then what changes the machine, and runs until
// ctx is done.
func start(ctx context.Context, o options.Daemon, h *status.Server, board *status.Board, tell *systemd.Notifier, reload <-chan os.Signal, log *slog.Logger) error {
	began := time.Now()
	started := easeStart()
	descriptors := systemd.OpenFDStore()
	store, err := newStore(o, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		// Also while the daemon waits, for a configuration or for a lease.
		if err := netif.WatchLost(ctx, store.Moved); err != nil {
			log.Debug("Connections from an address that the host loses are given up at their deadline only", "err", err)
		}
	})
	ahead := subnet.ListAhead(ctx, store)
	previous := host.ReadSubnetEnv(o.SubnetFile, log)
	log.Info("Created subnet manager: Etcd Local Manager with Previous Subnet: " + previous.String())
	state, err := statedir.Open(o.StateDir)
	kept := err == nil
	if !kept {
		log.Warn("The state directory cannot be written; a reboot will change the device's MAC, and has to wait for etcd. "+
			"Give a writable one with --state-dir", "dir", o.StateDir, "err", err)
	}
	release, err := state.Lock()
	if errors.Is(err, statedir.ErrLocked) {
		// Two with one lease would undo what the other does, each with its own flags.
		return fmt.Errorf("another flanneld runs on this host: %w (stop it, or give each its own --state-dir, --subnet-file and --etcd-prefix)", err)
	}
	if err == nil {
		defer release()
	}
	id := identity.Load(state, identity.ThisMachine(o.Tuning.MachineID), log)
	memory := &memory{dir: state, path: o.StateDir, host: cache.Host{Node: id.ID(), Prefix: o.Etcd.Prefix}, boot: bootID(), log: log}
	basis, external, err := orient(ctx, o, store, memory, board)
	if err != nil {
		return err
	}
	cfg := basis.cfg
	board.SetBackend(cfg.Type)
	local, err := underlay.Local(external.Name, []netip.Prefix{cfg.V4.Network, cfg.V6.Network}, log)
	if err != nil {
		return err
	}
	kern := kernel.New(log)
	scope := datapath.Scope{
		Owner:    host.Owner(o.Etcd.Prefix),
		Links:    previous.Leftovers(log),
		Networks: previous.Networks(cfg.V4.Network, cfg.V6.Network),
		Protocol: routeProtocol,
	}
	newBackend, err := chooseBackend(cfg)
	if err != nil {
		return err
	}
	if changesNetwork(cfg.Type) {
		// Before the lease: nobody could use it.
		if err := netif.CheckPrivilege("flanneld"); err != nil {
			return fmt.Errorf("Error registering network: %w", err)
		}
	}
	fw := newFirewall(o, cfg, external.Name, scope.Networks, previous, log)
	backendOver := func(u backend.Underlay, before backend.Backend) (backend.Backend, error) {
		return newBackend(backend.Params{
			Underlay: u, Scope: scope, Kernel: kern, State: state, Log: log, Before: before,
			Filter: filter(o), Without: o.UDPOffload, Descriptors: descriptors,
		})
	}
	be, err := backendOver(external, nil)
	if err != nil {
		return fmt.Errorf("Error fetching backend: %w", err)
	}
	if tunnel, ok := be.(interface{ Device() string }); ok { // of a fixed name
		unclaim, err := host.ClaimDevice(ctx, tunnel.Device(), scope.Owner, kern)
		if err != nil {
			return fmt.Errorf("Error fetching backend: %w", err)
		}
		defer unclaim()
	}
	if err := descriptors.Close(); err != nil { // another backend's
		log.Warn("Cannot forget files of the last run", "err", err)
	}
	wakeup := wake.New()
	forwarding := &loop.Loop{Wake: wakeup, Kernel: kern, Scope: scope, Firewall: fw, Resync: o.Resync, New: backendOver, Log: log,
		Underlay: &underlay.Watch{Query: underlayQuery(o, cfg.V6.Enabled()), OwnMTU: cfg.Type == udp.Type, Wake: wakeup.Wake, Log: log}}
	counters := func() []backend.Counter {
		c, ok := forwarding.Counters()
		if !ok && cfg.Type != alloc.Type {
			return fw.Counters()
		}
		return c
	}
	h.SetCounters(counters)
	d := &daemon{opts: o, cfg: cfg, basis: basis, memory: memory, kept: kept, store: store, backend: be, loop: forwarding,
		firewall: fw, underlay: external, local: local,
		view: subnet.NewView(), identity: id, board: board, counters: counters, tell: tell, log: log, wake: wakeup,
		claimsChanged: make(chan subnet.Lease, 1), stood: make(chan struct{}, 1), passedOnce: make(chan struct{}), began: began, started: started,
		passes: systemd.NewProbe("keeps the datapath in step"), holding: systemd.NewProbe("holds the lease")}
	forwarding.Planes, forwarding.Alive, forwarding.Done, forwarding.Moved = d.planes, d.passes.Ask, d.passed, d.moved
	return d.run(ctx, ahead, previous, reload)
}

// daemon is a host with a backend, on its way to a lease or holding one.
type daemon struct {
	opts     options.Daemon
	cfg      config.Config
	basis    basis
	memory   *memory
	kept     bool // the state directory can be written
	store    remote
	backend  backend.Backend  // at the start
	underlay backend.Underlay // likewise
	firewall *firewall.Firewall
	loop     *loop.Loop
	view     *subnet.View
	identity *identity.Identity // of the goroutine that takes leases
	board    *status.Board
	counters func() []backend.Counter // nil: the backend has none
	passes   *systemd.Probe
	holding  *systemd.Probe
	tell     *systemd.Notifier
	log      *slog.Logger
	wake     wake.Chan     // of the loop: the own lease has changed, or is safe for longer or shorter
	stood    chan struct{} // so has the standing, perhaps by its deadline only

	claimsChanged chan subnet.Lease // what the lease is to say from now on

	mu       sync.Mutex
	local    []netip.Prefix // subnets that this host itself is in; written by forward's goroutine alone
	lease    subnet.Lease   // the own one
	claimed  subnet.Lease   // what it says, without its subnets and its node
	standing subnet.Standing
	told     host.Handover // what Docker was told last
	// Only the loop's goroutine uses these.
	handedOver host.Handover // what subnet.env says
	noFile     string        // why it cannot be written; empty: it can
	reloading  bool          // this pass was asked for by a reload

	handed     atomic.Bool   // subnet.env is there, and systemd knows
	reload     atomic.Bool   // the next pass that begins is to look at subnet.env, too
	passedOnce chan struct{} // closed after the first pass
	began      time.Time     // the start
	started    func()        // called when the host is ready
	once       sync.Once
}

// run takes a lease, for which ahead is asked first, or goes on with the one that
// is known from the last run, and holds it.
func (d *daemon) run(ctx context.Context, ahead *subnet.Ahead, previous host.SubnetEnv, reload <-chan os.Signal) error {
	request, err := d.request(previous)
	if err != nil {
		return err
	}
	got, followed, err := d.take(ctx, ahead, &request)
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	d.view.Reset(got.Seen)
	d.setLease(got.Lease)

	d.log.Info("Running backend.")
	g, ctx := errgroup.WithContext(ctx)
	merge(ctx, g, d.wake, d.view.Subscribe(), d.firewall.First())
	g.Go(func() error { return d.loop.Run(ctx, d.backend, d.underlay) })
	g.Go(func() error { return d.firewall.Run(ctx) })
	g.Go(func() error { return subnet.Follow(ctx, followed, d.view, got.Seen.Rev, d.log) })
	g.Go(func() error { return d.hold(ctx, request, got) })
	g.Go(func() error { return status.LogCounters(ctx, d.counters, d.log) })
	g.Go(func() error {
		return documentReader(d.store, d.opts.Etcd.Prefix, d.log).Watch(ctx, d.cfg, d.basis.rev())
	})
	g.Go(func() error { return d.keep(ctx) })
	g.Go(func() error { return d.watchHost().Run(ctx) })
	g.Go(func() error { return d.reloads(ctx, reload) })
	g.Go(func() error {
		return systemd.FeedWatchdog(ctx, systemd.WatchdogInterval(d.log), d.lifelines(), d.tell)
	})
	return g.Wait()
}

// merge passes tokens on from several channels, until ctx is done.
func merge(ctx context.Context, g *errgroup.Group, into wake.Chan, from ...<-chan struct{}) {
	for _, c := range from {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-c:
				}
				into.Wake()
			}
		})
	}
}
