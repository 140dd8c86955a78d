// Package alloc only holds a subnet for the host, and removes what another backend of
// ours left behind. It does not know how packets get to other hosts.
package alloc

import (
	"context"
	"encoding/json"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Type is the backend's type in the configuration. Leases have none.
const Type = "alloc"

// Configure reads the configuration's "Backend" object. An error is a
// *config.Error.
func Configure(raw json.RawMessage) (backend.New, error) {
	unknown, err := config.DecodeBackend(raw, &struct{}{})
	return func(p backend.Params) (backend.Backend, error) {
		backend.WarnUnknown(p.Log, Type, unknown)
		return alloc{p.Underlay.MTU, p.Scope.Protocol}, nil
	}, err
}

type alloc struct {
	mtu      int
	protocol uint8
}

// Type implements backend.Backend: empty, as every release left it out.
func (alloc) Type() string { return "" }

// Advertise implements backend.Backend.
func (alloc) Advertise(*subnet.Claim) error { return nil }

// MTU implements backend.Backend.
func (a alloc) MTU() int { return a.mtu }

// Plan implements backend.Backend: no peer is forwarded to.
func (a alloc) Plan(_ context.Context, planes []backend.Plane) (backend.Plan, error) {
	return backend.Plan{
		State:   datapath.State{Routes: backend.Blackholes(planes, a.protocol)},
		Ingress: make([]backend.Ingress, len(planes)),
	}, nil
}
