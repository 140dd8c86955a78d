// Package udp forwards in user space: packets for the network are read from a
// TUN device, and each goes as the payload of a UDP datagram to the host that has
// its destination. It needs nothing of the kernel but that device, and is what a
// configuration without a backend means. Hosts of all releases understand each
// other: docs/udp.md has the wire format.
//
// The package decides what device and route there are, and attaches the engine,
// which moves the packets and knows nothing of either.
package udp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"flanneld/backend"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Type is the backend's type in the configuration. Leases have none.
const Type = "udp"

// defaultPort is what every release used.
const defaultPort = 8285

// Options are the configuration's "Backend" object.
type Options struct {
	Port uint16 // UDP, of every host; 0: 8285
}

// ParseOptions reads the configuration's "Backend" object, and returns the names
// in it that are no options. An error is a *config.Error.
func ParseOptions(raw json.RawMessage) (o Options, unknown []string, err error) {
	unknown, err = config.DecodeBackend(raw, &o)
	if o.Port == 0 {
		o.Port = defaultPort
	}
	return o, unknown, err
}

// machine is this host's sockets and what moves packets between them and a device.
type machine interface {
	// tun says what the device must be like.
	tun() datapath.TUN
	// attach makes it move packets of the device that has the name now.
	attach(device string) error
	// share returns copies of the sockets' descriptors for the backend that follows, which
	// may need the same address and port while this one still has them.
	share() []int
	// close closes all that is open.
	close()

	Set(engine.State)
	Run(context.Context) // once
	Alive(context.Context) error
	Counters() engine.Counters
}

// Backend implements backend.Forwarder. Alive is the machine's.
type Backend struct {
	machine
	opts     Options
	underlay backend.Underlay
	scope    datapath.Scope
	kernel   backend.Kernel
	filter   backend.Filter
	path     kernelPath
	reached  map[netip.Addr]bool // peers that announce, by the underlay's interface
	device   string              // empty: not chosen yet
	mtu      int
	warnIPv6 sync.Once
	changed  func()
	log      *slog.Logger
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

// New opens the sockets and returns the backend. Run closes all. If another process
// has the port, the error names both.
func New(p backend.Params, o Options) (*Backend, error) {
	m, err := open(p, o)
	if err != nil {
		return nil, err
	}
	path := openKernelPath(p, o)
	m.kernel = path.String()
	return newBackend(p, o, m, path), nil
}

func newBackend(p backend.Params, o Options, m machine, path kernelPath) *Backend {
	if p.Filter.Off {
		p.Log.Warn("Packets are accepted from any sender (--peer-filter=off)", "port", o.Port)
	}
	p.Log.Info(fmt.Sprintf("UDP config: Port=%d", o.Port))
	return &Backend{
		machine: m, path: path, opts: o, underlay: p.Underlay, scope: p.Scope, kernel: p.Kernel, filter: p.Filter,
		mtu: mtuOver(p.Underlay.MTU), changed: changedOf(p), log: p.Log,
	}
}

// Type implements backend.Backend: empty, as every release left it out.
func (b *Backend) Type() string { return "" }

// Advertise implements backend.Backend. Beside the PublicIP it says whether peers may send
// to this host's kernel.
func (b *Backend) Advertise(c *subnet.Claim) error {
	if b.path.fastPath != nil && b.path.Announces() && c.PublicIP.Is4() {
		data, err := json.Marshal(announced{Direct: takesAll})
		c.Data = string(data)
		return err
	}
	return nil
}

// MTU implements backend.Backend. It follows the underlay's with each Plan.
func (b *Backend) MTU() int { return b.mtu }

// Plan implements backend.Backend.
func (b *Backend) Plan(ctx context.Context, planes []backend.Plane) (backend.Plan, error) {
	b.followMTU(ctx)
	if len(planes) > 1 {
		b.warnIPv6.Do(func() {
			b.log.Warn("The udp backend carries IPv4 only: IPv6 subnets are leased, but nothing is forwarded to them. " +
				`Choose "vxlan" or "host-gw", or set EnableIPv6 to false`)
		})
	}
	if err := b.choose(ctx); err != nil {
		return backend.Plan{}, err
	}
	if b.path.fastPath != nil {
		b.reached = b.near(ctx, planes[0].Peers)
		if !b.path.ready { // or what peers send meanwhile would be nobody's
			b.setPath(planes)
		}
	}
	p := plan(datapath.Link{
		Name: b.device, Kind: "tun", Alias: b.scope.Owner, Up: true, MTU: b.mtu, TUN: b.machine.tun(),
	}, b.opts.Port, b.scope.Protocol, planes)
	b.path.add(&p, b.device, planes[0].Partial)
	return p, nil
}

// Forward implements backend.Forwarder.
func (b *Backend) Forward(planes []backend.Plane) error {
	// Before a device is attached: packets may be waiting, and have no peer yet.
	b.Set(stateOf(planes, b.opts.Port, b.mtu, b.filter))
	b.setPath(planes)
	err := b.attach(b.device)
	if err == nil && !b.path.engine {
		b.path.engine = true
		if len(b.path.sends) > 0 {
			b.changed()
		}
	}
	return err
}

// Run implements backend.Forwarder.
func (b *Backend) Run(ctx context.Context) error {
	defer b.close()
	if b.path.fastPath != nil {
		defer b.path.Close()
		var watch sync.WaitGroup
		defer watch.Wait()
		watch.Go(func() { b.path.Run(ctx) })
	}
	b.machine.Run(ctx)
	return nil
}

// Counters implements backend.Forwarder.
func (b *Backend) Counters() []backend.Counter {
	all := b.machine.Counters()
	list := make([]backend.Counter, len(all))
	for i, n := range all {
		list[i] = backend.Counter{Name: "udp_" + engine.Counter(i).String(), Value: n}
	}
	if b.path.fastPath != nil {
		for _, c := range b.path.Counters() {
			list = append(list, backend.Counter{Name: "udp_kernel_" + c.Name, Value: c.Value})
		}
	}
	return list
}

// InKernel implements backend.Forwarder.
func (b *Backend) InKernel() (how string, peers []netip.Prefix) {
	if b.path.fastPath == nil {
		return b.path.String(), nil
	}
	if why := b.path.Why(); why != "" {
		return "off (" + why + ")", b.path.InKernel()
	}
	return "full", b.path.InKernel()
}

// followMTU takes the device's MTU from the underlay's. If that is away it stays as it
// is.
func (b *Backend) followMTU(ctx context.Context) {
	underlay, err := b.kernel.LinkMTU(ctx, b.underlay.Name)
	if mtu := mtuOver(underlay); err == nil && mtu != b.mtu {
		b.log.Info("The MTU of the interface has changed", "interface", b.underlay.Name, "mtu", underlay,
			"overlay", mtu, "before", b.mtu)
		b.mtu = mtu
	}
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
	b.path.left(have)
	b.device, err = chooseDevice(have.Links, b.scope.Owner)
	return err
}
