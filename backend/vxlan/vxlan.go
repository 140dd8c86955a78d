// Package vxlan forwards through the kernel's VXLAN device: per peer one
// on-link route, one permanent neighbour and one forwarding entry, so that no
// packet ever waits for the daemon. It decides what these are; it does not know
// how they come about. docs/backends.md tells operators.
package vxlan

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Type is the backend's type in the configuration and in leases.
const Type = "vxlan"

const (
	overheadV4 = 50 // bytes: IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14
	overheadV6 = 70 // bytes: the same with an outer IPv6 header of 40

	defaultVNI  = 1
	maxVNI      = 1<<24 - 1
	defaultPort = 8472 // the Linux kernel's, older than the 4789 of RFC 7348

	mostWarnings = 20 // about peers, after one Set

	minMTU = 1280 // bytes: IPv6 needs as much (RFC 8200)
	maxMTU = 65535
)

// Options are the configuration's "Backend" object.
type Options struct {
	VNI           uint32
	Port          uint16 // UDP; 0: 8472
	GBP           bool
	Learning      bool
	DirectRouting bool
	MTU           int // bytes, of the underlay; 0: the interface's, which is the most
}

// Backend implements backend.Backend.
type Backend struct {
	opts       Options
	underlay   backend.Underlay
	scope      datapath.Scope
	kernel     backend.Kernel
	macs       map[string]datapath.MAC // by device
	vteps      map[string]datapath.MAC // peers', by their Data: what the last plan has read
	state      backend.State
	log        *slog.Logger
	reconciler datapath.Reconciler
	skipped    []skip // by the last Set
}

// ParseOptions reads the configuration's "Backend" object, and returns the names
// in it that are no options. An error is a *config.Error with the position
// within the object.
func ParseOptions(raw json.RawMessage) (o Options, unknown []string, err error) {
	o.VNI = defaultVNI
	if unknown, err = config.DecodeBackend(raw, &o); err != nil {
		return o, unknown, err
	}
	switch {
	case o.VNI > maxVNI:
		err = config.OptionError(raw, "VNI", fmt.Sprintf("Backend option VNI %d does not fit 24 bits", o.VNI),
			fmt.Sprintf("write a number from 0 to %d", maxVNI))
	case o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU):
		err = config.OptionError(raw, "MTU", fmt.Sprintf("Backend option MTU %d is out of range", o.MTU),
			fmt.Sprintf("write a number from %d to %d, or leave it out to use the interface's", minMTU, maxMTU))
	}
	return o, unknown, err
}

// New reads the options and returns the backend.
func New(p backend.Params) (*Backend, error) {
	o, unknown, err := ParseOptions(p.Config)
	if err != nil {
		return nil, err
	}
	backend.WarnUnknown(p.Log, Type, unknown)
	p.Log.Info(fmt.Sprintf("VXLAN config: VNI=%d Port=%d GBP=%t Learning=%t DirectRouting=%t",
		o.VNI, o.Port, o.GBP, o.Learning, o.DirectRouting)) // as written: original daemons print Port=0
	if o.Port == 0 {
		o.Port = defaultPort
	}
	if o.MTU > p.Underlay.MTU {
		// The kernel refuses it, and larger packets would be lost.
		p.Log.Warn("Backend MTU is larger than the interface's; taking that",
			"mtu", o.MTU, "interface", p.Underlay.Name, "taken", p.Underlay.MTU)
	}
	if o.MTU == 0 || o.MTU > p.Underlay.MTU {
		o.MTU = p.Underlay.MTU
	}
	b := &Backend{
		opts: o, underlay: p.Underlay, scope: p.Scope, kernel: p.Kernel,
		macs: make(map[string]datapath.MAC), state: p.State, log: p.Log,
	}
	b.scope.Links = append(b.scope.Links, b.device(false), b.device(true))
	b.reconciler = datapath.Reconciler{Kernel: p.Kernel, Scope: b.scope, Log: p.Log}
	return b, nil
}

// Type implements backend.Backend.
func (b *Backend) Type() string { return Type }

// MTU implements backend.Backend. With IPv6 tunnels beside IPv4 ones it is the
// smaller of the two.
func (b *Backend) MTU() int {
	if b.underlay.PublicV6.IsValid() {
		return b.opts.MTU - overheadV6
	}
	return b.opts.MTU - overheadV4
}

// leaseData is what a lease says of the device.
type leaseData struct {
	VNI     uint16
	VtepMAC string
}

// Advertise implements backend.Backend.
func (b *Backend) Advertise(c *subnet.Claim) error {
	mac, err := b.mac(b.device(c.PublicIP.Is6()))
	if err != nil {
		return err
	}
	// Releases 0.14 to 0.23 reject a lease whose VNI does not fit 16 bits, and
	// nobody on Linux reads it.
	data, err := json.Marshal(leaseData{VNI: uint16(b.opts.VNI & 0xffff), VtepMAC: mac.String()})
	if err != nil {
		return err
	}
	c.Data = string(data)
	return nil
}

// Set implements backend.Backend.
func (b *Backend) Set(ctx context.Context, planes []backend.Plane) error {
	direct, err := b.direct(ctx, planes)
	if err != nil {
		return err
	}
	want, skipped := b.plan(planes, direct)
	b.warn(skipped)
	_, err = b.reconciler.Apply(ctx, want)
	return err
}

// warn says which peers are left out, and why, unless it was so in the last Set.
func (b *Backend) warn(skipped []skip) {
	before := make(map[netip.Prefix]string, len(b.skipped))
	for _, s := range b.skipped {
		before[s.subnet] = s.reason.Error()
	}
	b.skipped = skipped
	fresh := slices.DeleteFunc(slices.Clone(skipped), func(s skip) bool { return before[s.subnet] == s.reason.Error() })
	for i, s := range fresh {
		if i == mostWarnings {
			b.log.Warn("Ignoring more peers", "count", len(fresh)-i)
			return
		}
		b.log.Warn("Ignoring a peer: it cannot be forwarded to", "subnet", s.subnet, "reason", s.reason)
	}
}

// Skipped implements backend.Skipper.
func (b *Backend) Skipped() []netip.Prefix {
	all := make([]netip.Prefix, len(b.skipped))
	for i, s := range b.skipped {
		all[i] = s.subnet
	}
	return all
}

// Run implements backend.Backend.
func (b *Backend) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ingress implements backend.Receiving. Whoever has DirectRouting sends packets as
// they are, and it is likely that all hosts have it.
func (b *Backend) Ingress(v6 bool) backend.Ingress {
	return backend.Ingress{Device: b.device(v6), Direct: b.opts.DirectRouting, Port: b.opts.Port, VNI: b.opts.VNI}
}

// device names the VXLAN device of a family.
func (b *Backend) device(v6 bool) string {
	if v6 {
		return fmt.Sprintf("flannel-v6.%d", b.opts.VNI)
	}
	return fmt.Sprintf("flannel.%d", b.opts.VNI)
}
