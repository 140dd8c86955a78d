package udp

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"flanneld/backend"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
)

// machine opens the device and the sockets of this host.
type machine interface {
	// tun says what the device must be like.
	tun() datapath.TUN
	// attach returns a forwarder on the device, which exists and has no other one.
	attach(device string) (forwarder, error)
	// share returns copies of the sockets' descriptors.
	share() []int
	// close closes everything but what forwarders have.
	close()
}

// forwarder moves packets between the device and the other hosts.
type forwarder interface {
	Set(engine.State)
	Run(context.Context) error // once; engine.ErrDeviceGone if it was deleted
	Counters() engine.Counters
	// Alive returns nil once Run has shown that it runs.
	Alive(context.Context) error
	// On reports whether it still is on the device of that name.
	On(device string) bool
	// Close is called when Run has returned, or was not called.
	Close()
}

// runner keeps a forwarder on the device: another one when the device was deleted, or
// when a forwarder has failed.
type runner struct {
	machine  machine
	attached chan forwarder // has the one that run has not taken yet
	log      *slog.Logger

	mu      sync.Mutex
	device  string
	state   engine.State    // what forward was called with last
	current forwarder       // nil: none is attached
	open    []forwarder     // that one, and others until Run closes them
	past    engine.Counters // of those that are closed
}

// forward tells the forwarder on the device the state.
func (r *runner) forward(device string, s engine.State) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.device, r.state = device, s
	return r.attach()
}

// attach attaches a forwarder if there is none, or none on the device as it is now,
// and tells it the state. The caller has the lock.
func (r *runner) attach() error {
	if r.current != nil && !r.current.On(r.device) {
		r.log.Warn("The device was deleted, and is there again", "device", r.device)
		r.current = nil // Run closes it
	}
	if r.current != nil {
		r.current.Set(r.state)
		return nil
	}
	f, err := r.machine.attach(r.device)
	if err != nil {
		return err
	}
	// Before it runs: packets may be waiting, and it would know no peer.
	f.Set(r.state)
	r.current = f
	r.open = append(r.open, f)
	r.dropUnused()
	r.attached <- f
	return nil
}

// Run implements backend.Forwarder: it runs forwarders, one after the other.
func (r *runner) Run(ctx context.Context) error {
	defer r.shut()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-r.attached:
			err := f.Run(ctx)
			r.mu.Lock()
			r.drop(f)
			r.mu.Unlock()
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, engine.ErrDeviceGone) {
				continue // the next Forward attaches another
			}
			r.log.Error("Forwarding ended; starting it again", "err", err)
		}
		var pause backoff.Backoff
		for pause.Wait(ctx) == nil {
			r.mu.Lock()
			err := r.attach()
			r.mu.Unlock()
			if err == nil {
				break
			}
		}
	}
}

// drop closes a forwarder that does not run. The caller has the lock.
func (r *runner) drop(f forwarder) {
	r.past = sum(r.past, f.Counters())
	r.open = slices.DeleteFunc(r.open, func(o forwarder) bool { return o == f })
	if r.current == f {
		r.current = nil
	}
	f.Close()
}

// dropUnused closes the forwarder that Run has not taken, if there is one.
func (r *runner) dropUnused() {
	select {
	case f := <-r.attached:
		r.drop(f)
	default:
	}
}

// shut closes all that is left.
func (r *runner) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropUnused()
	r.machine.close()
}

// share returns copies of the sockets' descriptors for the backend that follows, which
// may need the same address and port while this one still has them.
func (r *runner) share() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.share()
}

// Alive implements backend.Forwarder. A forwarder that is about to be attached is not
// waited for: its absence has been logged.
func (r *runner) Alive(ctx context.Context) error {
	r.mu.Lock()
	f := r.current
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.Alive(ctx)
}

// Counters implements backend.Forwarder.
func (r *runner) Counters() []backend.Counter {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.past
	for _, f := range r.open {
		all = sum(all, f.Counters())
	}
	list := make([]backend.Counter, len(all))
	for i, n := range all {
		list[i] = backend.Counter{Name: "udp_" + engine.Counter(i).String(), Value: n}
	}
	return list
}

func sum(a, b engine.Counters) engine.Counters {
	for i := range a {
		a[i] += b[i]
	}
	return a
}
