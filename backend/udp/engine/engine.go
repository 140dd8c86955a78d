package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// ErrDeviceGone is returned by Run when the TUN device was deleted.
var ErrDeviceGone = errors.New("device is gone")

// Config is what an engine works with. The caller owns all of it, and closes it
// after Run has returned.
type Config struct {
	Device *tun.Device
	// Sockets are one for each queue of the device. If there are several, they share
	// their address.
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
	device     *tun.Device
	log        *slog.Logger
	queues     []*queue
	forwarding atomic.Pointer[forwarding]
	answers    *answers
	reports    chan func() // log a line each
	stopping   atomic.Bool // Run is to end
}

// New returns an engine that has no peers. It must be called in the network
// namespace of the device and the sockets.
func New(c Config) (*Engine, error) {
	queues := c.Device.Queues()
	if len(queues) != len(c.Sockets) {
		return nil, fmt.Errorf("make udp engine: %d sockets for %d queues", len(c.Sockets), len(queues))
	}
	answers, err := newAnswers(c.Log)
	if err != nil {
		return nil, fmt.Errorf("make udp engine: %w", err)
	}
	e := &Engine{device: c.Device, log: c.Log, answers: answers, reports: make(chan func(), 16)}
	e.Set(State{})
	var threads priority
	if !c.NoPriority {
		if threads, err = newPriority(); err != nil {
			e.log.Info("Streams are moved with no priority over applications, which takes some of their speed on a busy host",
				"err", err, "hint", "give CAP_SYS_NICE, or LimitNICE=-10 in the unit, or --udp-offload=priority")
		}
	}
	// A thread that keeps its processor while it waits needs another processor for
	// everything else.
	hold := runtime.GOMAXPROCS(0) > len(queues)
	for i, device := range queues {
		q, err := newQueue(e, device, c.Sockets[i], hold, threads)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("make udp engine: %w", err)
		}
		e.queues = append(e.queues, q)
	}
	return e, nil
}

// Set makes the engine forward by the state from now on. It may be called at any
// time, also twice with the same state.
func (e *Engine) Set(s State) { e.forwarding.Store(compile(s, e.forwarding.Load())) }

// Counters returns what was counted, without holding up the packets.
func (e *Engine) Counters() (sum Counters) {
	for _, q := range e.queues {
		for i := range sum {
			sum[i] += q.counters[i].Load()
		}
	}
	return sum
}

// Run moves packets until ctx is done, and then returns nil. No error of a packet
// ends it. It returns ErrDeviceGone if the device was deleted, and an error if a
// socket was closed. It is called once.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() {
		e.stopping.Store(true)
		e.wake()
	})()
	for _, q := range e.queues {
		group.Go(func() error {
			// The queue's memory stays in one processor's cache, and a system call
			// that blocks holds up no other goroutine.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return q.run()
		})
	}
	// The queues' threads never wait for the log.
	group.Go(func() error {
		for {
			select {
			case report := <-e.reports:
				report()
			case <-ctx.Done():
				return nil
			}
		}
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("move packets of %s: %w", e.device.Name(), err)
	}
	return nil
}

// Close frees what New made. Run has returned, or was not called.
func (e *Engine) Close() {
	for _, q := range e.queues {
		_ = q.wake.Close()
	}
	e.answers.close()
}
