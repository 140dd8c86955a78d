// Package hostgw forwards by plain routes: every peer is the gateway to its own
// subnet. It needs all hosts on one layer 2 network and costs nothing. It decides
// which routes there are; it does not know how they get into the kernel.
package hostgw

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Type is the backend's type in the configuration and in leases.
const Type = "host-gw"

// Configure reads the configuration's "Backend" object. An error is a
// *config.Error.
func Configure(raw json.RawMessage) (backend.New, error) {
	unknown, err := config.DecodeBackend(raw, &struct{}{})
	return func(p backend.Params) (backend.Backend, error) {
		backend.WarnUnknown(p.Log, Type, unknown)
		return newBackend(p)
	}, err
}

// newBackend refuses to publish another address than the interface's own, to which
// peers would route in vain.
func newBackend(p backend.Params) (backend.Backend, error) {
	for _, a := range []struct{ own, public netip.Addr }{
		{p.Underlay.V4, p.Underlay.PublicV4}, {p.Underlay.V6, p.Underlay.PublicV6},
	} {
		if a.public.IsValid() && a.public != a.own {
			return nil, fmt.Errorf("your PublicIP %s differs from interface IP %s, meaning that probably you're on a NAT, "+
				"which is not supported by host-gw backend", a.public, a.own)
		}
	}
	return hostgw{p.Underlay, p.Scope.Protocol}, nil
}

type hostgw struct {
	underlay backend.Underlay
	protocol uint8
}

// Type implements backend.Backend.
func (hostgw) Type() string { return Type }

// Advertise implements backend.Backend. The PublicIP says it all.
func (hostgw) Advertise(*subnet.Claim) error { return nil }

// MTU implements backend.Backend: nothing is added to a packet.
func (b hostgw) MTU() int { return b.underlay.MTU }

// Plan implements backend.Backend: a route per peer.
func (b hostgw) Plan(_ context.Context, planes []backend.Plane) (backend.Plan, error) {
	s := datapath.State{Routes: backend.Blackholes(planes, b.protocol)}
	for _, plane := range planes {
		s.Routes = slices.Grow(s.Routes, len(plane.Peers))
		for _, peer := range plane.Peers {
			s.Routes = append(s.Routes, datapath.Route{
				Dst: peer.Subnet, Gateway: peer.PublicIP, Link: b.underlay.Name,
				Protocol: b.protocol, Metric: backend.Metric(peer.Subnet),
			})
		}
	}
	return backend.Plan{
		State:   s,
		Ingress: slices.Repeat([]backend.Ingress{{Direct: true}}, len(planes)),
		Unreachable: fmt.Sprintf("host-gw needs all hosts on one layer 2 network, that of %s: "+
			"give the others an address there, or choose vxlan or udp", b.underlay.Name),
	}, nil
}
