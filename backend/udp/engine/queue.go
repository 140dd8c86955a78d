package engine

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/hugepage"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

const (
	// maxFailures is the number of system calls in a row that may fail, each after a
	// wait that returned at once. Then the queue pauses.
	maxFailures = 1000

	// queueMemory is the size in bytes of the memory of a queue: whole huge pages.
	queueMemory = (arenaSize + headArena + 2*receiveMessages*batchSize + hugepage.Size - 1) &^ (hugepage.Size - 1)
)

// queue moves packets in both directions. All of it belongs to one goroutine, but for
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
	failures int  // calls in a row that failed for no good reason
	gone     bool // the device was deleted
	sender   sender
	receiver receiver
}

func newQueue(e *Engine, conn *udpbatch.Conn, memory []byte, hold bool, p priority) (*queue, error) {
	conn.SetFragments(false)
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	q := &queue{
		engine:   e,
		conn:     conn,
		wake:     os.NewFile(uintptr(wake), "eventfd"),
		reports:  limiter{perSecond: 1},
		priority: p,
	}
	if q.waiter, err = newWaiter(conn.FD(), wake, hold); err != nil {
		_ = q.wake.Close()
		return nil, err
	}
	// Packets to send and their headers lie in one huge page.
	q.sender = newSender(q, memory)
	q.receiver = newReceiver(q, memory[arenaSize+headArena:])
	q.receiver.coalescer.Emit = q.receiver.write
	return q, nil
}

func (q *queue) close() {
	q.waiter.close()
	_ = q.wake.Close()
}

// attach gives it a queue of a device. It does not run.
func (q *queue) attach(device *tun.Queue, f tun.Features) error {
	q.tun, q.header, q.gone, q.failures = device, f.Header, false, 0
	q.receiver.coalescer.UDP = f.Offloads&tun.USO4 != 0
	return q.waiter.attach(device.FD())
}

// run moves packets until the device is gone or the engine has other work.
func (q *queue) run() {
	defer q.priority.raise(false)
	again := func() bool { return q.round() || q.failures > 0 || q.ended() }
	for !q.ended() {
		if q.round() {
			continue
		}
		if q.failures > maxFailures {
			q.engine.reports.Go(func() {
				q.engine.log.Error("System calls that move packets fail; pausing for a second", "calls", maxFailures)
			})
			q.failures = 0
			q.waiter.pause()
		}
		full := q.sender.out.left() > 0
		if !full && q.waiter.spin() {
			continue
		}
		q.counters.add(Waits, 1)
		switch {
		case full:
			q.waiter.waitForRoom()
		case q.waiter.holds():
			q.waiter.wait()
		default:
			q.priority.raise(false)
			q.waiter.park(again)
		}
	}
}

// round moves what there is, up to a bound. It reports whether that was anything.
func (q *queue) round() bool {
	q.rounds.Add(1)
	f, failures := q.engine.forwarding.Load(), q.failures
	var sent, received bool
	if q.waiter.bySocket() { // what is there comes first
		received = q.receiver.receive(f)
		sent = q.sender.transmit(f)
	} else {
		sent = q.sender.transmit(f)
		received = q.receiver.receive(f)
	}
	worked := sent || received
	if worked || q.failures == failures {
		q.failures = 0
	}
	if worked {
		q.waiter.busy(q.counters[Tx+Bytes].Load() + q.counters[Rx+Bytes].Load())
	}
	return worked
}

// ended reports whether the queue has nothing to do any more, or the engine has other work.
func (q *queue) ended() bool {
	return q.gone || q.engine.stopping.Load() || len(q.engine.attached) > 0
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
	p.reported.Store(true)
	// The queues' threads never wait for the log.
	q.engine.reports.Go(func() {
		q.engine.log.Warn("Refused packets with a peer's source: the datagrams are not from its address",
			"subnet", p.Subnet, "want", p.Endpoint.Addr(), "from", address(from),
			"hint", "that host has several addresses or is behind NAT: set its --public-ip to the one that it sends from, "+
				"or allow that one here")
	})
}
