// Package engine moves packets between a TUN device and peers, one bare IPv4
// packet in each UDP datagram.
//
// It decides for each packet where it goes, whether it may come in, and what is
// said about it if it may not. The device, the sockets and what peers there are
// it is given. Each queue of the device and its socket have one thread, which
// moves packets in both directions, many at a time: what the kernel hands out
// unsplit is cut into datagrams that leave as trains, and what arrives is
// joined again. Every datagram is the same as if each packet had been sent by
// itself, as all releases do.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// ErrDeviceGone is returned by Run when the TUN device was deleted.
var ErrDeviceGone = errors.New("device is gone")

// Config is what an engine works with. All of it stays the caller's, to be
// closed after Run has returned.
type Config struct {
	Device *tun.Device
	// Sockets are one for each queue of the device. If there is more than one
	// they share their address.
	Sockets []*udpbatch.Conn
	// NoPriority keeps the threads from going before applications while they move
	// streams.
	NoPriority bool
	Log        *slog.Logger
}

// Queues returns how many queues are right for a number of processors: a
// thread with a queue is busy while there is traffic, and more than four do not
// help a host that has also applications.
func Queues(processors int) int { return min(max(processors/2, 1), 4) }

// Engine moves packets while Run runs.
type Engine struct {
	device     *tun.Device
	log        *slog.Logger
	queues     []*queue
	forwarding atomic.Pointer[forwarding]
	answers    *answers
	reports    chan report
	stop       int // eventfd, readable when it is time

	mu     sync.Mutex
	closed bool
}

// report is that packets of a peer came from an address that is not its own.
type report struct {
	peer Peer
	from netip.Addr
}

// New returns an engine that has no peers. It must be called in the network
// namespace of the device and the sockets.
func New(c Config) (*Engine, error) {
	queues := c.Device.Queues()
	if len(queues) != len(c.Sockets) {
		return nil, fmt.Errorf("make udp engine: %d sockets for %d queues", len(c.Sockets), len(queues))
	}
	e := &Engine{device: c.Device, log: c.Log, stop: -1, reports: make(chan report, 16)}
	e.forwarding.Store(&forwarding{subnet: network{1, 0}})
	answers, noRaw, err := newAnswers()
	if err != nil {
		return nil, fmt.Errorf("make udp engine: %w", err)
	}
	if noRaw != nil {
		e.log.Warn("no ICMP errors are sent about packets that are dropped", "err", noRaw,
			"hint", "run as root or with CAP_NET_RAW")
	}
	e.answers = answers
	if e.stop, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		e.Close()
		return nil, fmt.Errorf("make udp engine: %w", err)
	}
	var threads priority
	if !c.NoPriority {
		if threads, err = newPriority(); err != nil {
			e.log.Info("Streams are moved with no priority over applications, which takes some of their speed on a busy host",
				"err", err, "hint", "give CAP_SYS_NICE, or LimitNICE=-10 in the unit, or --udp-offload=priority")
		}
	}
	// A thread that holds its processor while it waits needs another one for
	// everything else.
	hold := runtime.GOMAXPROCS(0) > len(queues)
	for i, q := range queues {
		if err := c.Sockets[i].SetDiscovery(udpbatch.Do); err != nil {
			e.Close()
			return nil, fmt.Errorf("make udp engine: %w", err)
		}
		ask, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("make udp engine: %w", err)
		}
		e.queues = append(e.queues, newQueue(e, q, c.Sockets[i], ask, hold, threads))
	}
	return e, nil
}

// Set forwards by the state from now on, all at once. It may be called at any
// time, and twice with the same is nothing. What is not valid in it is left
// out, and makes an error.
func (e *Engine) Set(s State) error {
	f, err := compile(s, e.forwarding.Load())
	e.forwarding.Store(f)
	return err
}

// Counters returns what was counted, without holding up the packets.
func (e *Engine) Counters() Counters {
	var sum Counters
	for _, q := range e.queues {
		q.counters.addTo(&sum)
	}
	return sum
}

// Run moves packets until ctx is done; then it returns nil. No error of a
// packet ends it, but ErrDeviceGone does, as does a socket that is closed. It
// is called once.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() {
		// The counter never overflows, so that this cannot fail.
		_, _ = unix.Write(e.stop, []byte{1, 1, 1, 1, 1, 1, 1, 1})
	})()
	for _, q := range e.queues {
		group.Go(func() error {
			// The queue's memory stays with one processor, and blocking
			// there holds up nobody else.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return q.run()
		})
	}
	group.Go(func() error {
		for {
			select {
			case r := <-e.reports:
				e.report(r)
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

// report is not done by the threads of the queues, which must not wait for who
// reads the log.
func (e *Engine) report(r report) {
	e.log.Warn("refused packets that are said to be from a peer: the datagrams are not from its address",
		"subnet", r.peer.Subnet, "want", r.peer.Endpoint.Addr(), "from", r.from,
		"hint", "that host has several addresses or is behind NAT: set its --public-ip to the one that it sends from, "+
			"or allow that one here")
}

// Close frees what New made. Run has returned, or was not called.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, q := range e.queues {
		_ = unix.Close(q.ask)
	}
	e.answers.close()
	if e.stop >= 0 {
		_ = unix.Close(e.stop)
	}
}
