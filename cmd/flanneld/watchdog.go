package main

import (
	"context"
	"sync"

	"flanneld/backend"
)

// lifelines are of the loops that, if they hang, leave a host that looks well and
// is not, and that a restart sets right. Not asked is what waits for etcd: its
// requests are bounded one by one, and no restart brings etcd back.
func (d *daemon) lifelines() []func(context.Context) error {
	return []func(context.Context) error{d.passes.Alive, d.holding.Alive, d.running.Alive}
}

// running is the backend that moves packets: another one when the host has another
// address, and none in between.
type running struct {
	mu      sync.Mutex
	backend backend.Backend
}

func (r *running) set(be backend.Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backend = be
}

func (r *running) get() backend.Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backend
}

// Alive implements backend.Living, for all backends.
func (r *running) Alive(ctx context.Context) error {
	be := r.get()
	living, ok := be.(backend.Living)
	if !ok {
		return nil
	}
	if err := living.Alive(ctx); err != nil && r.get() == be {
		return err
	}
	return nil
}
