package udp

import (
	"context"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// outline implements backend.Backend without sockets and programs.
type outline struct {
	backend.Params
	opts Options
}

// Outline returns a backend that plans and opens nothing, for whoever compares the kernel
// with what is wanted: another process may have the port and the device. What depends on how
// that process moves packets, the queues of the device and the kernel's own path, is wanted
// as it is there.
func Outline(p backend.Params, o Options) backend.Backend { return outline{p, o} }

func (outline) Type() string                  { return "" }
func (outline) Advertise(*subnet.Claim) error { return nil }
func (b outline) MTU() int                    { return mtuOver(b.Underlay.MTU) }

// Plan implements backend.Backend.
func (b outline) Plan(ctx context.Context, planes []backend.Plane) (backend.Plan, error) {
	names := datapath.Scope{Owner: b.Scope.Owner}
	for n := range maxDevices {
		names.Links = append(names.Links, deviceName(n))
	}
	have, err := b.Kernel.Read(ctx, names)
	if err != nil {
		return backend.Plan{}, err
	}
	device, err := chooseDevice(have.Links, b.Scope.Owner)
	if err != nil {
		return backend.Plan{}, err
	}
	link := datapath.Link{Name: device, Kind: "tun", Alias: b.Scope.Owner, Up: true, MTU: b.MTU()}
	if i := slices.IndexFunc(have.Links, func(l datapath.Link) bool { return l.Name == device }); i >= 0 {
		link.TUN = have.Links[i].TUN
	}
	p := plan(link, b.opts.Port, b.Scope.Protocol, planes)
	for _, l := range have.Links {
		if l.VXLAN.GPE {
			p.State.Links = append(p.State.Links, l)
		}
	}
	p.State.Filters = have.Filters
	return p, nil
}
