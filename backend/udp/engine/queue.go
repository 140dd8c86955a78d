package engine

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/hugepage"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// maxFailures is the number of system calls in a row that may fail, each after a
// wait that returned at once. More of them are no accident.
const maxFailures = 1000

// queue moves packets in both directions. All of it belongs to one thread, but for
// the counters.
type queue struct {
	engine   *Engine
	tun      *tun.Queue
	conn     *udpbatch.Conn
	header   bool          // the device has a virtio header before each packet
	wake     *os.File      // eventfd that ends a wait
	rounds   atomic.Uint64 // of run
	counters counters
	waiter   *waiter
	reports  limiter
	priority priority
	failures int   // calls in a row that failed for no good reason
	err      error // that ends the queue
	sender   sender
	receiver receiver
}

func newQueue(e *Engine, device *tun.Queue, conn *udpbatch.Conn, hold bool, p priority) (*queue, error) {
	if err := conn.SetDiscovery(udpbatch.Do); err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	q := &queue{
		engine:   e,
		tun:      device,
		conn:     conn,
		wake:     os.NewFile(uintptr(wake), "eventfd"),
		header:   e.device.Features().Header,
		waiter:   newWaiter(device.FD(), conn.FD(), wake, hold),
		reports:  limiter{perSecond: 1},
		priority: p,
	}
	// Packets to send and their headers lie in one huge page.
	q.sender = newSender(q, hugepage.Make(hugepage.Size))
	q.receiver = newReceiver(q)
	q.receiver.coalescer.Emit = q.receiver.write
	return q, nil
}

// run moves packets until it is told to stop, which is no error.
func (q *queue) run() error {
	// The Go runtime uses the thread for other goroutines afterwards.
	defer q.priority.raise(false)
	for !q.engine.stopping.Load() {
		q.rounds.Add(1)
		f := q.engine.forwarding.Load()
		sent := q.sender.transmit(f)
		received := q.receiver.receive(f)
		if q.err != nil {
			return q.err
		}
		if sent || received {
			q.failures = 0
			q.waiter.busy(q.counters[Tx+Bytes].Load() + q.counters[Rx+Bytes].Load())
			continue
		}
		if q.failures > maxFailures {
			return fmt.Errorf("%d system calls failed", q.failures)
		}
		full := q.sender.out.left() > 0
		if !full && q.waiter.spin() {
			continue
		}
		q.counters.add(Waits, 1)
		q.waiter.wait(full)
	}
	return nil
}

// isGone reports whether an error number says that the device was deleted.
func isGone(errno unix.Errno) bool {
	return errno == unix.EBADFD || errno == unix.ENODEV || errno == unix.EBADF
}

// report passes on that a peer's packets came from another address, once for each
// peer and not too often.
func (q *queue) report(p *peer, from uint32) {
	if p.reported.Load() || !q.reports.allow(time.Now()) {
		return
	}
	warn := func() {
		q.engine.log.Warn("refused packets that are said to be from a peer: the datagrams are not from its address",
			"subnet", p.Subnet, "want", p.Endpoint.Addr(), "from", address(from),
			"hint", "that host has several addresses or is behind NAT: set its --public-ip to the one that it sends from, "+
				"or allow that one here")
	}
	select {
	case q.engine.reports <- warn:
		p.reported.Store(true)
	default:
	}
}
