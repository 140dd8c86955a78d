package main

import (
	"context"
	"slices"

	"flanneld/subnet"
	"flanneld/subnet/cache"
)

// keep writes what this host knows of the cluster for its next start, from the
// first pass on: until then there are better things to do.
func (d *daemon) keep(ctx context.Context) error {
	if !d.kept {
		return nil // memory does not last until the next start
	}
	select {
	case <-ctx.Done():
		return nil
	case <-d.passedOnce:
	}
	// What is there is no worse while it is not known how this host stands.
	for ok := false; !ok; _, ok = d.known() {
		select {
		case <-ctx.Done():
			return nil
		case <-d.stood:
		}
	}
	k := cache.Keeper{Dir: d.memory.dir, Known: d.known, Own: d.stood, Others: d.view.Subscribe(), Log: d.log}
	return k.Run(ctx)
}

// known returns what a next start may go on; false if there is no lease, or another
// host has it.
func (d *daemon) known() (cache.Known, bool) {
	d.mu.Lock()
	s := d.standing
	d.mu.Unlock()
	switch s.State {
	case subnet.Held, subnet.AtRisk, subnet.Expired, subnet.Rebound:
	default:
		return cache.Known{}, false
	}
	m := d.memory
	k := cache.Known{Host: cache.Host{Node: s.Lease.Node, Prefix: m.host.Prefix}, Config: d.basis.doc, Own: s.Lease, Saved: m.now()}
	if !s.Lease.Reserved() {
		if s.Deadline == 0 {
			return cache.Known{}, false // it is not held yet
		}
		k.Sent, k.Until = m.at(s.Sent), m.at(s.Deadline)
	}
	k.Peers = slices.DeleteFunc(d.view.Leases(), func(l subnet.Lease) bool { return l.Key() == s.Lease.Key() })
	return k, true
}
