package main

import (
	"context"
	"errors"
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
	admitted := b.guard.admit(ctx, planes, b.Backend)
	err := b.Backend.Set(ctx, planes)
	b.guard.update(planes, b.Backend) // there may be a device now
	if admitted == nil {
		return err
	}
	return errors.Join(admitted, err)
}

// Counters implements backend.Counting. A backend that counts itself looks itself at
// who sends.
func (b guarded) Counters() []backend.Counter {
	if c, ok := b.Backend.(backend.Counting); ok {
		return c.Counters()
	}
	if _, ok := b.Backend.(backend.Receiving); ok {
		return b.guard.Counters()
	}
	return nil
}

// Alive implements backend.Living.
func (b guarded) Alive(ctx context.Context) error {
	if l, ok := b.Backend.(backend.Living); ok {
		return l.Alive(ctx)
	}
	return nil
}

// Skipped implements backend.Skipper.
func (b guarded) Skipped() []netip.Prefix {
	if s, ok := b.Backend.(backend.Skipper); ok {
		return s.Skipped()
	}
	return nil
}

// Share implements backend.Sharing.
func (b guarded) Share(name string) []int {
	if s, ok := b.Backend.(backend.Sharing); ok {
		return s.Share(name)
	}
	return nil
}
