package main

import (
	"context"
	"net/netip"

	"flanneld/backend"
)

// guarded is a backend on a host with a guard, which hears of the planes first.
type guarded struct {
	backend.Backend
	guard *guard
}

// Set implements backend.Backend.
func (b guarded) Set(ctx context.Context, planes []backend.Plane) error {
	b.guard.update(planes, b.Backend)
	err := b.Backend.Set(ctx, planes)
	b.guard.update(planes, b.Backend) // there may be a device now
	return err
}

// Skipped implements backend.Skipper.
func (b guarded) Skipped() []netip.Prefix {
	if s, ok := b.Backend.(backend.Skipper); ok {
		return s.Skipped()
	}
	return nil
}
