// Package vxlan forwards through the kernel's VXLAN device: per peer one
// on-link route, one permanent neighbour and one forwarding entry, so that no
// packet ever waits for the daemon. It decides what these are; it does not know
// how they get into the kernel. docs/backends.md is for operators.
package vxlan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
	maxVNI      = 9_999_999 // device names have 15 characters at most
	maxVNIv6    = 9_999     // likewise, with a device for IPv6
	defaultPort = 8472      // the Linux kernel's, older than the 4789 of RFC 7348

	minMTU = 1280 // bytes: IPv6 needs as much (RFC 8200)
	maxMTU = 65535

	leastV4 = 68 // bytes: the kernel gives a device no less (RFC 791)
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
	opts     Options
	underlay backend.Underlay
	scope    datapath.Scope
	kernel   backend.Kernel
	macs     macs
	vteps    vteps
}

// ParseOptions reads the configuration's "Backend" object, and returns the names
// in it that are no options. V6 is set if the overlay has IPv6. An error is a
// *config.Error with the position within the object, and has what else is wrong in Also.
func ParseOptions(raw json.RawMessage, v6 bool) (o Options, unknown []string, err error) {
	o.VNI = defaultVNI
	mostVNI, leastMTU := uint32(maxVNI), minMTU
	if v6 {
		mostVNI, leastMTU = maxVNIv6, minMTU+overheadV6
	}
	var wrong config.Faults
	unknown, err = config.DecodeBackend(raw, &o)
	wrong.Add(err)
	switch {
	case o.VNI >= 1<<24:
		wrong.Add(config.OptionError(raw, "VNI", fmt.Sprintf("Backend option VNI %d does not fit 24 bits", o.VNI),
			fmt.Sprintf("write a number from 0 to %d", mostVNI)))
	case o.VNI > mostVNI:
		wrong.Add(config.OptionError(raw, "VNI", fmt.Sprintf("Backend option VNI %d makes a device name of more than 15 characters, which the kernel refuses: %s",
			o.VNI, device(o.VNI, v6)), fmt.Sprintf("write a number from 0 to %d", mostVNI)))
	}
	if o.MTU != 0 && (o.MTU < leastMTU || o.MTU > maxMTU) {
		wrong.Add(config.OptionError(raw, "MTU", fmt.Sprintf("Backend option MTU %d is out of range", o.MTU),
			fmt.Sprintf("write a number from %d to %d, or leave it out to use the interface's", leastMTU, maxMTU)))
	}
	return o, unknown, wrong.Err()
}

// Configure reads the configuration's "Backend" object. V6 is set if the overlay has
// IPv6. An error is a *config.Error.
func Configure(raw json.RawMessage, v6 bool) (backend.New, error) {
	o, unknown, err := ParseOptions(raw, v6)
	return func(p backend.Params) (backend.Backend, error) {
		backend.WarnUnknown(p.Log, Type, unknown)
		least := leastV4 + overheadV4
		if v6 {
			least = minMTU + overheadV6
		}
		if p.Underlay.MTU < least {
			return nil, fmt.Errorf("the MTU of %s is %d, and vxlan needs at least %d there: raise it, or choose another interface with --iface",
				p.Underlay.Name, p.Underlay.MTU, least)
		}
		return New(p, o), nil
	}, err
}

// New returns the backend.
func New(p backend.Params, o Options) *Backend {
	p.Log.Info(fmt.Sprintf("VXLAN config: VNI=%d Port=%d GBP=%t Learning=%t DirectRouting=%t",
		o.VNI, o.Port, o.GBP, o.Learning, o.DirectRouting)) // as written: original daemons print Port=0
	o.Port = cmp.Or(o.Port, defaultPort)
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
		vteps: make(vteps),
		macs:  macs{known: make(map[string]datapath.MAC), kernel: p.Kernel, state: p.State, log: p.Log},
	}
	b.scope.Links = append(slices.Clone(b.scope.Links), b.device(false), b.device(true))
	return b
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

// Advertise implements backend.Backend.
func (b *Backend) Advertise(c *subnet.Claim) error {
	mac, err := b.macs.of(b.device(c.PublicIP.Is6()))
	if err != nil {
		return err
	}
	// Releases 0.14 to 0.23 reject a lease with a VNI of more than 16 bits. No
	// release on Linux reads it.
	c.Data = fmt.Sprintf(`{"VNI":%d,"VtepMAC":"%s"}`, b.opts.VNI&0xffff, mac)
	return nil
}

// Plan implements backend.Backend.
func (b *Backend) Plan(ctx context.Context, planes []backend.Plane) (backend.Plan, error) {
	direct, err := b.direct(ctx, planes)
	if err != nil {
		return backend.Plan{}, err
	}
	return b.plan(planes, direct), nil
}

// Device names the device of IPv4 tunnels.
func (b *Backend) Device() string { return b.device(false) }

func (b *Backend) device(v6 bool) string { return device(b.opts.VNI, v6) }

// device names the VXLAN device of a family.
func device(vni uint32, v6 bool) string {
	if v6 {
		return fmt.Sprintf("flannel-v6.%d", vni)
	}
	return fmt.Sprintf("flannel.%d", vni)
}
