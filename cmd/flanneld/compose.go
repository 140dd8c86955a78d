package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
	"flanneld/cmd/internal/overlay"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netif"
	"flanneld/pkg/systemd"
	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
	"flanneld/subnet/etcdapi"
	"flanneld/subnet/tenant"
)

// chooseBackend returns what makes the configuration's backend. It is a *config.Error if
// there is none of its type, if the backend cannot work with its options, or if the Network
// is where this host's gateways are.
func chooseBackend(cfg config.Config) (backend.New, error) {
	if err := cfg.Spares(underlay.Gateways()); err != nil {
		return nil, err
	}
	configure, ok := map[string]func(json.RawMessage) (backend.New, error){
		udp.Type: udp.Configure, hostgw.Type: hostgw.Configure, alloc.Type: alloc.Configure,
		vxlan.Type: func(raw json.RawMessage) (backend.New, error) { return vxlan.Configure(raw, cfg.V6.Enabled()) },
	}[cfg.Type]
	if !ok {
		return nil, cfg.Locate(config.OptionError(cfg.Backend, "Type", "unknown backend type: "+cfg.Type,
			`there are "udp", "vxlan", "host-gw" and "alloc"`))
	}
	newBackend, err := configure(cfg.Backend)
	if err != nil {
		return nil, cfg.Locate(err)
	}
	return newBackend, nil
}

// daemon is the parts of a running daemon, as far as one has to do with another.
type daemon struct {
	opts    options.Daemon
	notify  *systemd.Notifier
	board   *status.Board
	servers []*status.Server
	log     *slog.Logger

	store    *etcdapi.Choice
	observed subnet.Store // the same, and the board knows how it answers
	reader   config.Reader
	previous host.SubnetEnv // what the subnet file said at the start
	state    boot.State

	origin     boot.Origin
	newBackend backend.New      // by the options of the configuration
	underlay   backend.Underlay // at the start
	backend    backend.Backend  // at the start
	firewall   *firewall.Firewall
	loop       *loop.Loop
	host       *overlay.Host
}

// start first does what only reads, then what changes the machine, and runs until ctx is
// done.
func (d *daemon) start(ctx context.Context, reload <-chan os.Signal) error {
	b := &boot.Boot{Began: time.Now()}
	if err := host.CheckSubnetFile(d.opts.SubnetFile); err != nil {
		return err
	}
	descriptors := systemd.OpenFDStore()
	var unlock func()
	var err error
	if d.state, unlock, err = boot.OpenState(d.opts.StateDir, d.opts.Etcd.Prefix, d.opts.Tuning.MachineID, d.log); err != nil {
		return err
	}
	defer unlock()
	if d.store, err = newStore(d.opts.Etcd, d.state.Cache.LastAPI(), d.log); err != nil {
		return err
	}
	defer d.store.Close()
	d.state.Cache.API = d.store
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		// Also while the daemon waits, for a configuration or for a lease.
		if err := kernel.WatchLost(ctx, d.store.Moved); err != nil {
			d.log.Debug("Connections from an address that this host loses end only at their deadline", "err", err)
		}
	})
	d.previous = host.ReadSubnetEnv(d.opts.SubnetFile, d.log)
	d.log.Info("Created subnet manager: Etcd Local Manager with Previous Subnet: " + d.previous.String())
	d.observed = status.Observe(d.store, d.board)
	d.board.SetAPI(func() string { return string(d.store.Decided()) })
	d.reader = documentReader(d.observed, d.log)
	preview := sync.OnceFunc(func() { underlay.Preview(d.query(config.Config{}), d.log) })
	b.Store, b.Reader, b.Cache = d.observed, d.reader, d.state.Cache
	// The configuration that is accepted last is the one that is used.
	b.Reader.Accept = func(cfg config.Config) (err error) {
		d.newBackend, err = chooseBackend(cfg)
		return err
	}
	b.Waits = func(reason string) { preview(); d.board.SetUnusable(reason) }
	d.board.SetUnusable("")
	if d.origin, err = b.Origin(ctx, func(cfg config.Config) (boot.Addrs, error) { return d.findUnderlay(ctx, cfg) }); err != nil {
		return err
	}
	unclaim, err := d.openDatapath(ctx, descriptors)
	if err != nil {
		return err
	}
	defer unclaim()
	if err := d.openTenant(); err != nil {
		return err
	}
	got, err := b.Lease(ctx, &d.origin, published(d.underlay), d.host.Tenant.Acquire)
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	d.board.SetEtcdAway(d.origin.Known != nil)
	d.host.Tenant.Begin(got, d.origin.Known != nil)
	return d.run(ctx, got.Seen.Rev, reload)
}

// findUnderlay finds the external interface for a configuration.
func (d *daemon) findUnderlay(ctx context.Context, cfg config.Config) (boot.Addrs, error) {
	u, err := underlay.Await(ctx, d.query(cfg), d.board.SetUnusable, d.log)
	d.underlay = u
	return published(u), err
}

func published(u backend.Underlay) boot.Addrs { return boot.Addrs{V4: u.PublicV4, V6: u.PublicV6} }

func (d *daemon) query(cfg config.Config) underlay.Query {
	return underlay.Query{Names: d.opts.Iface, Regexps: d.opts.IfaceRegex, CanReach: d.opts.IfaceCanReach,
		PublicIP: d.opts.PublicIP, PublicIPv6: d.opts.PublicIPv6, V6: cfg.V6.Enabled()}
}

// openDatapath makes the backend, the firewall and the loop that applies their plans.
func (d *daemon) openDatapath(ctx context.Context, descriptors *systemd.FDStore) (release func(), err error) {
	o, cfg := d.opts, d.origin.Config
	d.board.SetBackend(cfg)
	d.board.SetUnderlay(d.underlay)
	local, err := underlay.Local(d.underlay.Name, cfg.Networks(), d.log)
	if err != nil {
		return nil, err
	}
	privilege := netif.CheckPrivilege("flanneld")
	if privilege != nil && cfg.Type != alloc.Type {
		// Before the lease: nobody could use it.
		return nil, fmt.Errorf("Error registering network: %w", privilege)
	}
	kern := kernel.Kernel{}
	scope := datapath.Scope{Owner: host.Owner(o.Etcd.Prefix), Links: d.previous.Leftovers(d.log),
		Networks: d.previous.Networks(cfg.Networks()...), Protocol: host.RouteProtocol}
	claims := new(host.Claims)
	filter := backend.Filter{Off: !o.PeerFilter, Allow: o.PeerAllow}
	over := func(u backend.Underlay, before backend.Backend) (backend.Backend, error) {
		return d.newBackend(backend.Params{Underlay: u, Scope: scope, Kernel: kern, State: d.state, Log: d.log, Before: before,
			Filter: filter, Without: o.UDPOffload, Descriptors: descriptors, Claim: claims.Claim, Changed: func() { d.loop.Changed() }})
	}
	policy := firewall.Policy{Filter: filter, Masquerade: o.IPMasq, PlainPorts: o.MasqPlainPorts, Forward: o.ForwardRules,
		Docker: o.DockerFirewall, NFTables: cfg.NFTables, Networks: scope.Networks,
		Previous: []netip.Prefix{d.previous.Subnet, d.previous.SubnetV6}, Resync: o.FirewallResync}
	if o.Etcd.Prefix != options.DefaultPrefix {
		policy.Prefix = o.Etcd.Prefix
	}
	d.firewall = firewall.New(policy, d.underlay.Name, d.log)
	d.firewall.Report(d.board.SetFirewall)
	if privilege != nil { // alloc gets so far without it
		d.firewall.Disable(privilege)
	}
	release = claims.Release
	d.backend, err = over(d.underlay, nil)
	if tunnel, ok := d.backend.(interface{ Device() string }); err == nil && ok { // of a fixed name
		release, err = host.ClaimDevice(ctx, tunnel.Device(), scope.Owner, kern)
	}
	if err != nil {
		return nil, fmt.Errorf("Error fetching backend: %w", err)
	}
	d.board.SetPath(pathOf(d.backend, cfg.Type))
	if err := descriptors.Close(); err != nil { // another backend's
		d.log.Warn("Cannot forget files of the last run", "err", err)
	}
	h := &overlay.Host{Config: cfg, Blackhole: o.BlackholeRoute, Fence: o.Fence, View: subnet.NewView(), Board: d.board,
		Firewall: d.firewall, Store: d.store, Local: local, Wake: wake.New(), Standing: wake.New(), Passes: wake.New(), Began: make(chan struct{}), Log: d.log}
	h.Needed = func() ([]backend.Needed, error) { return underlay.Needed(cfg.Networks(), d.store.Tried()) }
	h.Docker = &host.Docker{Board: d.board, Ready: d.notify.Ready, Log: d.log,
		SubnetFile: o.SubnetFile, Network: cfg.V4.Network, IPMasq: o.IPMasq}
	if cfg.Type != udp.Type { // which carries IPv4 only
		h.Docker.NetworkV6 = cfg.V6.Network
	}
	d.host, d.loop = h, &loop.Loop{Planes: h.Planes, Wake: h.Wake, Kernel: kern, Scope: scope, Firewall: d.firewall, Resync: o.Resync,
		New: over, Done: h.Passed, Moved: h.Moved, Publish: h.Publish, Log: d.log,
		Underlay: &underlay.Watch{Query: d.query(cfg), OwnMTU: cfg.Type == udp.Type, Wake: h.Wake.Wake, Log: d.log}}
	return release, nil
}

// pathOf says what carries packets.
func pathOf(b backend.Backend, typ string) string {
	if _, ok := b.(backend.Forwarder); ok {
		return "user space"
	}
	if typ == alloc.Type {
		return "none"
	}
	return "kernel"
}

// openTenant says which lease this host wants.
func (d *daemon) openTenant() error {
	claims, err := backend.Claims(d.backend, d.underlay, d.origin.Config.V6.Enabled())
	if err != nil {
		return fmt.Errorf("Error registering network: %w", err)
	}
	known := d.state.Identity.ID() != ""
	d.host.Tenant = tenant.New(tenant.Options{
		Store: d.observed, View: d.host.View, Known: d.state.Cache.Leases(), Margin: d.opts.RenewMargin, Surrender: d.opts.LeaseLost == options.LeaseLostExit,
		Request: subnet.Request{Config: d.origin.Config, Lease: subnet.Lease{Node: d.state.Identity.Make(d.underlay.PublicV4)}, Mark: d.state.Identity.Mark(),
			Previous: d.previous.Key(), Known: known, TTL: d.opts.Tuning.LeaseTTL, TakeOver: d.opts.TakeOver},
		Rename: d.state.Identity.Renew, Changed: d.host.LeaseChanged, Log: d.log,
	})
	d.host.Tenant.Publish(claims, d.host.Local)
	return nil
}

// run holds the lease, forwards, and tells others, until ctx is done. The leases are
// followed from the revision on.
func (d *daemon) run(ctx context.Context, rev subnet.Revision, reload <-chan os.Signal) error {
	h, cfg := d.host, d.origin.Config
	passes := systemd.NewProbe("keeps the datapath in step")
	d.loop.Alive, d.loop.Progress = passes.Ask, passes.Step
	alive := []func(context.Context) error{passes.Alive, h.Tenant.Alive, d.loop.CheckForwarder}
	counters := func() []backend.Counter {
		c := d.loop.Counters()
		if cfg.Type != alloc.Type {
			c = append(c, d.firewall.Counters()...)
		}
		return c
	}
	d.board.SetCounters(counters)
	d.board.SetInKernel(d.loop.InKernel)
	for _, s := range d.servers {
		s.SetAlive(alive)
	}
	known := func() (cache.Known, bool) {
		_, s := h.Tenant.State()
		return d.state.Cache.Known(s, d.origin.Document, h.View.Leases())
	}
	heard := boot.Heard(d.observed, func() { d.board.SetEtcdAway(false) })

	d.log.Info("Running backend.")
	h.View.Subscribe(h.Wake)
	d.firewall.Subscribe(h.Wake)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.loop.Run(ctx, d.backend, d.underlay) })
	g.Go(func() error { return d.firewall.Run(ctx) })
	g.Go(func() error { return subnet.Follow(ctx, heard, h.View, rev, d.log) })
	g.Go(func() error { return h.Tenant.Run(ctx) })
	g.Go(func() error { return d.reader.Watch(ctx, cfg, d.origin.Rev(), d.board.SetUnusable) })
	if d.state.Kept { // or it would not last until the next start
		g.Go(func() error { return d.state.Cache.Keep(ctx, h.Began, h.Standing, h.View, known) })
	}
	g.Go(func() error { return settle(ctx, h.Passes, d.log) })
	g.Go(func() error { return status.LogCounters(ctx, d.board, d.log) })
	g.Go(func() error { return status.SampleTraffic(ctx, d.board) })
	g.Go(func() error { return host.Watch(ctx, h.Docker, d.opts.DockerBridge, cfg.Type != alloc.Type) })
	g.Go(func() error {
		return h.Docker.Reload(ctx, reload, d.notify.Reloading, func(ctx context.Context) { d.reader.Compare(ctx, cfg) }, h.Wake)
	})
	g.Go(func() error { return systemd.FeedWatchdog(ctx, alive, d.notify.Feed, d.log) })
	return g.Wait()
}
