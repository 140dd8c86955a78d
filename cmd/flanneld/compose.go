package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/firewall"
	"flanneld/backend/hostgw"
	"flanneld/backend/loop"
	"flanneld/backend/udp"
	"flanneld/backend/underlay"
	"flanneld/backend/vxlan"
	"flanneld/cmd/internal/boot"
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
	"flanneld/subnet/etcd2"
	"flanneld/subnet/node"
	"flanneld/subnet/tenant"
)

// routeProtocol marks our routes (rtnetlink(7)). No registered routing daemon
// has this number.
const routeProtocol = 102

// chooseBackend returns what makes the configuration's backend. It is a *config.Error if
// there is none of its type, or if the backend cannot work with its options.
func chooseBackend(cfg config.Config) (backend.New, error) {
	read, ok := map[string]func(json.RawMessage) (backend.New, error){
		udp.Type: udp.Configure, vxlan.Type: vxlan.Configure, hostgw.Type: hostgw.Configure, alloc.Type: alloc.Configure,
	}[cfg.Type]
	if !ok {
		return nil, cfg.Locate(config.OptionError(cfg.Backend, "Type", "unknown backend type: "+cfg.Type,
			`there are "udp", "vxlan", "host-gw" and "alloc"`))
	}
	newBackend, err := read(cfg.Backend)
	if err != nil {
		return nil, cfg.Locate(err)
	}
	return newBackend, nil
}

// documentReader reads the configuration in etcd as this daemon understands it.
func documentReader(store config.Source, prefix string, log *slog.Logger) config.Reader {
	key := etcd2.ConfigKey(prefix)
	return config.Reader{
		Source:  store,
		Accept:  func(cfg config.Config) error { _, err := chooseBackend(cfg); return err },
		Missing: "etcd's v2 API has none at " + key,
		Remedy:  "write one, through etcd's v2 API: ETCDCTL_API=2 etcdctl mk " + key + ` '{"Network": "10.100.0.0/16"}'`,
		Log:     log,
	}
}

// daemon is the parts of a running daemon, as far as one has to do with another.
type daemon struct {
	opts   options.Daemon
	log    *slog.Logger
	notify *systemd.Notifier
	board  *status.Board
	server *status.Server
	reload <-chan os.Signal // SIGHUP

	store    remote
	reader   config.Reader
	previous host.SubnetEnv // what subnet.env said at the start
	state    *statedir.Dir  // in memory if there is no directory that can be written
	kept     bool           // state outlasts the daemon
	cache    *boot.Cache
	identity *node.Identity

	origin   boot.Origin
	underlay backend.Underlay // at the start
	local    []netip.Prefix   // subnets that this host itself is in; after the start of the loop's goroutine
	backend  backend.Backend  // at the start
	firewall *firewall.Firewall
	loop     *loop.Loop
	view     *subnet.View
	tenant   *tenant.Tenant
	docker   *host.Docker

	wake     wake.Chan // of the loop
	standing wake.Chan // how the host stands with its lease has changed, or for how long
	passed   chan struct{}
	first    sync.Once // closes passed after the first pass
}

// serve runs the daemon, and beside it what tells others how it is, until ctx is
// done or it fails.
func serve(ctx context.Context, o options.Daemon, log *slog.Logger) error {
	notify := &systemd.Notifier{Log: log}
	// From now on: until then the signal ends the process, as it does any.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	board := status.NewBoard(notify.Status)
	server, err := status.Listen(o.HealthzIP, o.HealthzPort, board, log)
	if err != nil {
		board.Fail(err)
		notify.Stopping()
		return err
	}
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g sync.WaitGroup
	g.Go(func() { server.Run(ctx) })
	g.Go(func() {
		<-ctx.Done()
		notify.Stopping() // at once, however long the rest takes
	})
	d := &daemon{opts: o, log: log, notify: notify, board: board, server: server, reload: reload,
		view: subnet.NewView(), wake: wake.New(), standing: wake.New(), passed: make(chan struct{})}
	err = d.start(ctx)
	if err != nil && asked.Err() == nil {
		board.Fail(err)
	}
	cancel()
	g.Wait()
	return err
}

// start first does what only reads, then what changes the machine, and runs until
// ctx is done.
func (d *daemon) start(ctx context.Context) error {
	began := time.Now()
	descriptors := systemd.OpenFDStore()
	var err error
	if d.store, err = newStore(d.opts, d.log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		// Also while the daemon waits, for a configuration or for a lease.
		if err := netif.WatchLost(ctx, d.store.Moved); err != nil {
			d.log.Debug("Connections from an address that the host loses are given up at their deadline only", "err", err)
		}
	})
	release, err := d.openState()
	if err != nil {
		return err
	}
	defer release()
	b := &boot.Boot{Store: d.store, Reader: d.reader, Cache: d.cache, Waits: d.waits(), Began: began}
	d.board.WaitForConfig("")
	if d.origin, err = b.Origin(ctx, d.findUnderlay); err != nil {
		return err
	}
	release, err = d.openDatapath(ctx, descriptors)
	if err != nil {
		return err
	}
	defer release()
	if err := d.openTenant(); err != nil {
		return err
	}
	got, err := b.Lease(ctx, &d.origin, d.published(), d.tenant.Acquire)
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	unverified := d.origin.Known != nil
	d.board.SetEtcdAway(unverified)
	d.tenant.Begin(got, unverified)
	return d.run(ctx, got.Seen.Rev)
}

// openState finds out what this host knows of its last run, and locks it.
func (d *daemon) openState() (release func(), err error) {
	d.reader = documentReader(d.store, d.opts.Etcd.Prefix, d.log)
	d.previous = host.ReadSubnetEnv(d.opts.SubnetFile, d.log)
	d.log.Info("Created subnet manager: Etcd Local Manager with Previous Subnet: " + d.previous.String())
	d.state, err = statedir.Open(d.opts.StateDir)
	if d.kept = err == nil; !d.kept {
		d.log.Warn("The state directory cannot be written; a reboot will change the device's MAC, and has to wait for etcd. "+
			"Give a writable one with --state-dir", "dir", d.opts.StateDir, "err", err)
	}
	release, err = d.state.Lock()
	if errors.Is(err, statedir.ErrLocked) {
		// Two with one lease would undo what the other does, each with its own flags.
		return nil, fmt.Errorf("another flanneld runs on this host: %w (stop it, or give each its own --state-dir, --subnet-file and --etcd-prefix)", err)
	}
	if err != nil {
		release = func() {}
	}
	d.identity = node.Load(d.state, node.ThisMachine(d.opts.Tuning.MachineID), d.log)
	d.cache = &boot.Cache{Dir: d.state, Path: d.opts.StateDir, BootID: boot.BootID(), Log: d.log,
		Host: cache.Host{Node: d.identity.ID(), Prefix: d.opts.Etcd.Prefix}}
	return release, nil
}

// waits returns what is told why there is no usable configuration.
func (d *daemon) waits() func(reason string) {
	once := sync.OnceFunc(func() { underlay.Preview(underlayQuery(d.opts, false), d.log) })
	return func(reason string) {
		once()
		d.board.WaitForConfig(reason)
	}
}

// findUnderlay finds the external interface for a configuration.
func (d *daemon) findUnderlay(cfg config.Config) (boot.Addrs, error) {
	u, err := underlay.Find(underlayQuery(d.opts, cfg.V6.Enabled()), d.log)
	d.underlay = u
	return d.published(), err
}

func (d *daemon) published() boot.Addrs {
	return boot.Addrs{V4: d.underlay.PublicV4, V6: d.underlay.PublicV6}
}

func (d *daemon) networks() []netip.Prefix {
	return []netip.Prefix{d.origin.Config.V4.Network, d.origin.Config.V6.Network}
}

// openDatapath makes the backend, the firewall and the loop that applies their plans.
func (d *daemon) openDatapath(ctx context.Context, descriptors *systemd.FDStore) (release func(), err error) {
	cfg := d.origin.Config
	d.board.SetBackend(cfg.Type)
	if d.local, err = underlay.Local(d.underlay.Name, d.networks(), d.log); err != nil {
		return nil, err
	}
	privilege := netif.CheckPrivilege("flanneld")
	if privilege != nil && cfg.Type != alloc.Type {
		// Before the lease: nobody could use it.
		return nil, fmt.Errorf("Error registering network: %w", privilege)
	}
	kern := kernel.New(d.log)
	scope := datapath.Scope{Owner: host.Owner(d.opts.Etcd.Prefix), Links: d.previous.Leftovers(d.log),
		Networks: d.previous.Networks(d.networks()...), Protocol: routeProtocol}
	newBackend, err := chooseBackend(cfg)
	if err != nil {
		return nil, err
	}
	over := func(u backend.Underlay, before backend.Backend) (backend.Backend, error) {
		return newBackend(backend.Params{
			Underlay: u, Scope: scope, Kernel: kern, State: d.state, Log: d.log, Before: before,
			Filter: filter(d.opts), Without: d.opts.UDPOffload, Descriptors: descriptors,
		})
	}
	d.firewall = newFirewall(d.opts, cfg, d.underlay.Name, scope.Networks, d.previous, d.log)
	release = func() {}
	d.backend, err = over(d.underlay, nil)
	if tunnel, ok := d.backend.(interface{ Device() string }); err == nil && ok { // of a fixed name
		release, err = host.ClaimDevice(ctx, tunnel.Device(), scope.Owner, kern)
	}
	if err != nil {
		return nil, fmt.Errorf("Error fetching backend: %w", err)
	}
	if err := descriptors.Close(); err != nil { // another backend's
		d.log.Warn("Cannot forget files of the last run", "err", err)
	}
	d.loop = &loop.Loop{
		Planes: d.planes, Wake: d.wake, Kernel: kern, Scope: scope, Firewall: d.firewall, Resync: d.opts.Resync, New: over,
		Done: d.done, Moved: d.moved, Log: d.log,
		Underlay: &underlay.Watch{Query: underlayQuery(d.opts, cfg.V6.Enabled()), OwnMTU: cfg.Type == udp.Type, Wake: d.wake.Wake, Log: d.log},
	}
	d.docker = &host.Docker{Board: d.board, Ready: d.notify.Ready, Log: d.log, File: host.SubnetFile{
		Path: d.opts.SubnetFile, Network: cfg.V4.Network, NetworkV6: cfg.V6.Network, IPMasq: d.opts.IPMasq, Log: d.log}}
	return release, nil
}

// openTenant says which lease this host wants.
func (d *daemon) openTenant() error {
	claims, err := backend.Claims(d.backend, d.underlay, d.origin.Config.V6.Enabled())
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	d.tenant = tenant.New(tenant.Options{
		Store: d.store, View: d.view, Margin: d.opts.RenewMargin, Surrender: d.opts.LeaseLost == options.LeaseLostExit,
		Request: subnet.Request{Config: d.origin.Config, Lease: subnet.Lease{Node: d.identity.Make(d.underlay.PublicV4)},
			Previous: d.previous.Key(), TTL: d.opts.Tuning.LeaseTTL, TakeOver: d.opts.TakeOver},
		Rename: d.rename, Changed: d.standingChanged, Log: d.log,
	})
	d.tenant.Publish(claims, d.local)
	return nil
}

// rename gives the host another id: it is a copy of the host that has its own.
func (d *daemon) rename(why error) string {
	id := d.identity.Renew()
	d.log.Error("This host has a copy of another's state directory; it goes on as a new node. Make each host its own: "+
		"empty the state directory and /etc/machine-id before copying an image", "node", id, "err", why)
	return id
}

func underlayQuery(o options.Daemon, v6 bool) underlay.Query {
	return underlay.Query{Names: o.Iface, Regexps: o.IfaceRegex, CanReach: o.IfaceCanReach,
		PublicIP: o.PublicIP, PublicIPv6: o.PublicIPv6, V6: v6}
}
