package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"flanneld/pkg/hugepage"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// Config is what an engine works with.
type Config struct {
	// Sockets are one for each queue of a device. If there are several, they share
	// their address. The caller closes them after Close.
	Sockets []*udpbatch.Conn
	// NoPriority: the threads get no priority over applications while they move
	// streams.
	NoPriority bool
	Log        *slog.Logger
}

// Queues returns the number of queues for a number of processors. A queue's thread
// is busy while there is traffic, and more than four of them take too much from a
// host's applications.
func Queues(processors int) int { return min(max(processors/2, 1), 4) }

// Engine moves packets while Run runs.
type Engine struct {
	log        *slog.Logger
	queues     []*queue
	forwarding atomic.Pointer[forwarding]
	answers    *answers
	prober     *prober
	free       func()         // of the queues' memory
	reports    sync.WaitGroup // goroutines that log a line each
	stopping   atomic.Bool    // Run is to end

	mu       sync.Mutex
	device   *tun.Device      // the last one that was attached; nil: none, or it was deleted
	attached chan *tun.Device // has the device until Run takes it
}

// New returns an engine that has no device and no peers. It must be called in the network
// namespace of the sockets.
func New(c Config) (*Engine, error) {
	e := &Engine{log: c.Log, attached: make(chan *tun.Device, 1)}
	e.Set(State{})
	memory, free, err := hugepage.Make(len(c.Sockets) * queueMemory)
	if err != nil {
		return nil, fmt.Errorf("make udp engine: %w", err)
	}
	e.free = free
	if e.answers, err = newAnswers(c.Log); err != nil {
		free()
		return nil, fmt.Errorf("make udp engine: %w", err)
	}
	e.prober = newProber(c.Sockets[0].LocalAddr(), e.answers, c.Log)
	var threads priority
	if !c.NoPriority {
		if threads, err = newPriority(); err != nil {
			e.log.Info("Streams have no priority over applications, so they are slower on a busy host",
				"err", err, "hint", "give CAP_SYS_NICE, or LimitNICE=-10 in the unit, or --udp-offload=priority")
		}
	}
	// A thread that keeps its processor while it waits needs another processor for
	// everything else.
	hold := runtime.GOMAXPROCS(0) > len(c.Sockets)
	for i, conn := range c.Sockets {
		q, err := newQueue(e, conn, memory[i*queueMemory:][:queueMemory], hold, threads)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("make udp engine: %w", err)
		}
		e.queues = append(e.queues, q)
	}
	return e, nil
}

// Set makes the engine forward by the state, each queue from its next round on. It may be
// called at any time, also twice with the same state.
func (e *Engine) Set(s State) { e.forwarding.Store(compile(s, e.forwarding.Load())) }

// Attach makes the engine move packets of a device in place of the one before. The
// device is the engine's from now on, but for an error: it must have as many queues as
// there are sockets.
func (e *Engine) Attach(d *tun.Device) error {
	if len(d.Queues()) != len(e.queues) {
		return fmt.Errorf("attach %s: it has %d queues for %d sockets", d.Name(), len(d.Queues()), len(e.queues))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropUnused()
	e.device = d
	e.attached <- d
	e.wake()
	return nil
}

// dropUnused closes the device that Run has not taken, if there is one.
func (e *Engine) dropUnused() {
	select {
	case d := <-e.attached:
		_ = d.Close()
	default:
	}
}

// On reports whether the engine has the device that has this name now. It has not if that
// was deleted, and another one made.
func (e *Engine) On(device string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.device != nil && e.device.Is(device)
}

// Counters returns what was counted, without holding up the packets.
func (e *Engine) Counters() (sum Counters) {
	for i := range sum {
		sum[i] = e.prober.counters[i].Load()
		for _, q := range e.queues {
			sum[i] += q.counters[i].Load()
		}
	}
	return sum
}

// Run moves packets of the device that is attached until ctx is done. No error of a
// packet ends it. It is called once.
func (e *Engine) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		e.stopping.Store(true)
		e.wake()
	})()
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-e.attached:
			e.move(d)
			e.mu.Lock()
			if e.device == d {
				e.device = nil
			}
			_ = d.Close()
			e.mu.Unlock()
		}
	}
}

// move moves packets until the device is gone, another one is attached, or Run is to end.
func (e *Engine) move(d *tun.Device) {
	var queues sync.WaitGroup
	defer queues.Wait()
	for i, q := range e.queues {
		if err := q.attach(d.Queues()[i], d.Features()); err != nil {
			e.log.Error("Cannot wait for a queue of the device; it moves no packets", "device", d.Name(), "queue", i, "err", err)
			continue
		}
		queues.Go(func() {
			defer q.waiter.detach()
			q.run()
		})
	}
}

// Close frees what New made, and the device. Run has returned, or was not called.
func (e *Engine) Close() {
	e.mu.Lock()
	e.dropUnused()
	e.device = nil
	e.mu.Unlock()
	e.prober.close()
	e.reports.Wait()
	for _, q := range e.queues {
		q.close()
	}
	e.answers.close()
	e.free()
}
