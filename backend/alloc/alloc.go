// Package alloc only holds a subnet for the host; forwarding between hosts is
// somebody else's. It removes what another backend of ours left behind.
package alloc

import (
	"context"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// Type is the backend's type in the configuration. Leases have none.
const Type = "alloc"

// Backend implements backend.Backend.
type Backend struct {
	mtu        int
	reconciler datapath.Reconciler
}

// New returns the backend.
func New(p backend.Params) (*Backend, error) {
	unknown, err := backend.NoOptions(p.Config)
	if err != nil {
		return nil, err
	}
	backend.WarnUnknown(p.Log, Type, unknown)
	return &Backend{
		mtu:        p.Underlay.MTU,
		reconciler: datapath.Reconciler{Kernel: p.Kernel, Scope: p.Scope, Log: p.Log},
	}, nil
}

// Type implements backend.Backend: empty, as every release left it out.
func (b *Backend) Type() string { return "" }

// Advertise implements backend.Backend.
func (b *Backend) Advertise(*subnet.Claim) error { return nil }

// MTU implements backend.Backend.
func (b *Backend) MTU() int { return b.mtu }

// Set implements backend.Backend: no peer is forwarded to.
func (b *Backend) Set(ctx context.Context, planes []backend.Plane) error {
	want := datapath.State{Routes: backend.Blackholes(planes, b.reconciler.Scope.Protocol)}
	_, err := b.reconciler.Apply(ctx, want)
	return err
}

// Run implements backend.Backend.
func (b *Backend) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
