// Package udp forwards in user space: packets for the network are read from a
// TUN device, and each goes as the payload of a UDP datagram to the host that has
// its destination. It needs nothing of the kernel but that device, and is what a
// configuration without a backend means. Hosts of all releases understand each
// other: docs/backends.md has the wire format.
//
// The package decides what device and route there are, and attaches the engine,
// which moves the packets and knows nothing of either.
package udp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"flanneld/backend"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// Type is the backend's type in the configuration. Leases have none.
const Type = "udp"

// Backend implements backend.Forwarder.
type Backend struct {
	opts     Options
	underlay backend.Underlay
	scope    datapath.Scope
	kernel   backend.Kernel
	filter   backend.Filter
	machine  machine
	log      *slog.Logger

	// Only Plan and Forward use these.
	device   string // empty: not chosen yet
	saidIPv6 bool

	attached chan forwarder // one that Run has not taken yet

	mu      sync.Mutex
	mtu     int
	state   engine.State // what Forward was called with last
	current forwarder    // nil: none is attached
	open    []forwarder  // that one, and others until Run closes them
	past    []backend.Counter
}

// machine is what of this host is reached by file descriptors.
type machine interface {
	// tun says what the device must be like.
	tun() datapath.TUN
	// attach returns a forwarder on the device, which is there and which no
	// other forwarder has.
	attach(device string) (forwarder, error)
	// share returns copies of the sockets' descriptors.
	share() []int
	// close lets go of everything but what forwarders have.
	close() error
}

// forwarder moves packets between the device and the other hosts.
type forwarder interface {
	Set(engine.State) error
	Run(context.Context) error // once; engine.ErrDeviceGone if it was deleted
	Counters() engine.Counters
	// Alive returns nil once Run has shown that it runs.
	Alive(context.Context) error
	// On reports whether it still is on the device of that name.
	On(device string) bool
	// Close is called when Run has returned, or was not called.
	Close() error
}

// Configure reads the configuration's "Backend" object. An error is a
// *config.Error.
func Configure(raw json.RawMessage) (backend.New, error) {
	o, unknown, err := ParseOptions(raw)
	return func(p backend.Params) (backend.Backend, error) {
		backend.WarnUnknown(p.Log, Type, unknown)
		return New(p, o)
	}, err
}

// New opens the sockets and returns the backend. Run closes them. If another process
// has the port, the error names both.
func New(p backend.Params, o Options) (*Backend, error) {
	m, err := open(p, o)
	if err != nil {
		return nil, err
	}
	return newBackend(p, o, m), nil
}

func newBackend(p backend.Params, o Options, m machine) *Backend {
	if p.Filter.Off {
		p.Log.Warn("Packets are let in from anybody who sends some to this host's port (--peer-filter=off)", "port", o.Port)
	}
	p.Log.Info(fmt.Sprintf("UDP config: Port=%d", o.Port))
	return &Backend{
		opts: o, underlay: p.Underlay, scope: p.Scope, kernel: p.Kernel, filter: p.Filter, machine: m, log: p.Log,
		attached: make(chan forwarder, 1), mtu: mtuOver(p.Underlay.MTU), past: flatten(engine.Counters{}),
	}
}

// Type implements backend.Backend: empty, as every release left it out.
func (b *Backend) Type() string { return "" }

// Advertise implements backend.Backend. The PublicIP says it all.
func (b *Backend) Advertise(*subnet.Claim) error { return nil }

// MTU implements backend.Backend. It follows the underlay's, and changes with
// Plan.
func (b *Backend) MTU() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mtu
}

// Plan implements backend.Backend.
func (b *Backend) Plan(ctx context.Context, planes []backend.Plane) (backend.Plan, error) {
	mtu := b.followMTU(ctx)
	b.warnOfIPv6(planes)
	if err := b.choose(ctx); err != nil {
		return backend.Plan{}, err
	}
	return plan(datapath.Link{
		Name: b.device, Kind: "tun", Alias: b.scope.Owner, Up: true, MTU: mtu, TUN: b.machine.tun(),
	}, b.scope.Protocol, planes), nil
}

// Forward implements backend.Forwarder.
func (b *Backend) Forward(planes []backend.Plane) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = stateOf(planes, b.opts.Port, b.mtu, b.filter)
	return b.forward()
}

// warnOfIPv6 says once what the wire has no room for.
func (b *Backend) warnOfIPv6(planes []backend.Plane) {
	isV6 := func(p backend.Plane) bool { return p.Network.Addr().Is6() }
	if b.saidIPv6 || !slices.ContainsFunc(planes, isV6) {
		return
	}
	b.saidIPv6 = true
	b.log.Warn("The udp backend carries IPv4 only: IPv6 subnets are leased, but nothing is forwarded to them. " +
		`Choose "vxlan" or "host-gw", or set EnableIPv6 to false`)
}

// followMTU returns the device's MTU, in bytes. If the underlay is away it stays
// as it is.
func (b *Backend) followMTU(ctx context.Context) int {
	underlay, err := b.kernel.LinkMTU(ctx, b.underlay.Name)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.log.Debug("The MTU stays as it is", "mtu", b.mtu, "err", err)
		return b.mtu
	}
	if mtu := mtuOver(underlay); mtu != b.mtu {
		b.log.Info("The MTU of the interface has changed", "interface", b.underlay.Name, "mtu", underlay,
			"overlay", mtu, "before", b.mtu)
		b.mtu = mtu
	}
	return b.mtu
}

// choose chooses the device's name, once.
func (b *Backend) choose(ctx context.Context) error {
	if b.device != "" {
		return nil
	}
	names := datapath.Scope{Owner: b.scope.Owner}
	for n := range maxDevices {
		names.Links = append(names.Links, deviceName(n))
	}
	have, err := b.kernel.Read(ctx, names)
	if err != nil {
		return fmt.Errorf("choose the device's name: %w", err)
	}
	b.device, err = chooseDevice(have.Links, b.scope.Owner)
	return err
}

// forward attaches a forwarder to the device if there is none, or none on the
// device as it is now, and tells it the state.
func (b *Backend) forward() error {
	if b.current != nil && !b.current.On(b.device) {
		b.log.Warn("The device was deleted, and is there again", "device", b.device)
		b.current = nil // Run closes it
	}
	if b.current != nil {
		return b.current.Set(b.state)
	}
	f, err := b.machine.attach(b.device)
	if err != nil {
		return err
	}
	// Before it runs: packets may be waiting, and it would know nobody.
	err = f.Set(b.state)
	b.current = f
	b.open = append(b.open, f)
	b.dropUnused()
	b.attached <- f
	return err
}

// Run implements backend.Forwarder: it runs forwarders, one after the other.
func (b *Backend) Run(ctx context.Context) error {
	defer b.shut()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-b.attached:
			err := f.Run(ctx)
			b.detach(f)
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, engine.ErrDeviceGone) {
				b.log.Debug("Forwarding ended", "err", err) // Forward makes a new one
				continue
			}
			b.log.Error("Forwarding ended; starting it again", "err", err)
		}
		var pause backoff.Backoff
		for pause.Wait(ctx) == nil {
			err := b.again()
			if err == nil {
				break
			}
			b.log.Debug("Cannot forward", "err", err)
		}
	}
}

// again attaches a forwarder, unless Forward has done so.
func (b *Backend) again() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forward()
}

// detach closes a forwarder that has run.
func (b *Backend) detach(f forwarder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(f)
}

// drop closes a forwarder that does not run.
func (b *Backend) drop(f forwarder) {
	b.past = plus(b.past, flatten(f.Counters()))
	b.open = slices.DeleteFunc(b.open, func(o forwarder) bool { return o == f })
	if b.current == f {
		b.current = nil
	}
	if err := f.Close(); err != nil {
		b.log.Debug("Cannot close the device", "err", err)
	}
}

// dropUnused closes the forwarder that Run has not taken, if there is one.
func (b *Backend) dropUnused() {
	select {
	case f := <-b.attached:
		b.drop(f)
	default:
	}
}

// shut closes all that is left.
func (b *Backend) shut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropUnused()
	if err := b.machine.close(); err != nil {
		b.log.Debug("Cannot close the sockets", "err", err)
	}
}

// share returns copies of the sockets' descriptors for the backend that follows: on
// another interface with the same address it needs the same port, and both are there
// for a moment.
func (b *Backend) share() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.machine.share()
}

// Alive implements backend.Forwarder. A forwarder that is about to be attached is not
// waited for: its absence has been logged.
func (b *Backend) Alive(ctx context.Context) error {
	b.mu.Lock()
	f := b.current
	b.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.Alive(ctx)
}

// Counters implements backend.Forwarder.
func (b *Backend) Counters() []backend.Counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := b.past
	for _, f := range b.open {
		sum = plus(sum, flatten(f.Counters()))
	}
	return slices.Clone(sum)
}
