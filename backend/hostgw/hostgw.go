// Package hostgw forwards by plain routes: every peer is the gateway to its own
// subnet. It needs all hosts on one layer 2 network and costs nothing. It
// decides which routes these are; it does not know how they come about.
package hostgw

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// Type is the backend's type in the configuration and in leases.
const Type = "host-gw"

// Backend implements backend.Backend.
type Backend struct {
	underlay   backend.Underlay
	protocol   uint8
	reconciler datapath.Reconciler
}

// New returns the backend. It is an error if peers are told another address
// than the interface's own: they would route to it, and nobody would answer.
func New(p backend.Params) (*Backend, error) {
	unknown, err := backend.NoOptions(p.Config)
	if err != nil {
		return nil, err
	}
	backend.WarnUnknown(p.Log, Type, unknown)
	for _, a := range []struct{ own, public netip.Addr }{
		{p.Underlay.V4, p.Underlay.PublicV4}, {p.Underlay.V6, p.Underlay.PublicV6},
	} {
		if a.public.IsValid() && a.public != a.own {
			return nil, fmt.Errorf("your PublicIP %s differs from interface IP %s, meaning that probably you're on a NAT, "+
				"which is not supported by host-gw backend", a.public, a.own)
		}
	}
	return &Backend{
		underlay:   p.Underlay,
		protocol:   p.Scope.Protocol,
		reconciler: datapath.Reconciler{Kernel: p.Kernel, Scope: p.Scope, Log: p.Log},
	}, nil
}

// Type implements backend.Backend.
func (b *Backend) Type() string { return Type }

// Advertise implements backend.Backend. The PublicIP says it all.
func (b *Backend) Advertise(*subnet.Claim) error { return nil }

// MTU implements backend.Backend: nothing is added to a packet.
func (b *Backend) MTU() int { return b.underlay.MTU }

// Set implements backend.Backend.
func (b *Backend) Set(ctx context.Context, planes []backend.Plane) error {
	_, err := b.reconciler.Apply(ctx, plan(b.underlay.Name, b.protocol, planes))
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		err = fmt.Errorf("%w; host-gw needs all hosts on one layer 2 network, that of %s: give the others an address there, or choose vxlan or udp",
			err, b.underlay.Name)
	}
	return err
}

// Run implements backend.Backend.
func (b *Backend) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ingress implements backend.Receiving.
func (b *Backend) Ingress(bool) backend.Ingress { return backend.Ingress{Direct: true} }

// plan returns the wanted state: a route per peer.
func plan(link string, protocol uint8, planes []backend.Plane) datapath.State {
	s := datapath.State{Routes: backend.Blackholes(planes, protocol)}
	for _, plane := range planes {
		s.Routes = slices.Grow(s.Routes, len(plane.Peers))
		for _, peer := range plane.Peers {
			s.Routes = append(s.Routes, datapath.Route{
				Dst: peer.Subnet, Gateway: peer.PublicIP, Link: link,
				Protocol: protocol, Metric: backend.Metric(peer.Subnet),
			})
		}
	}
	return s
}
