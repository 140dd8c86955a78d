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
		waiter:   newWaiter(conn.FD(), wake, hold),
		reports:  limiter{perSecond: 1},
		priority: p,
	}
	// Packets to send and their headers lie in one huge page.
	q.sender = newSender(q, memory)
	q.receiver = newReceiver(q, memory[arenaSize+headArena:])
	q.receiver.coalescer.Emit = q.receiver.write
	return q, nil
}

// attach gives it a queue of a device. It does not run.
func (q *queue) attach(device *tun.Queue, f tun.Features) {
	q.tun, q.header, q.gone, q.failures = device, f.Header, false, 0
	q.waiter.fds[waitDevice].Fd = int32(device.FD())
	q.receiver.coalescer.UDP = f.Offloads&tun.USO4 != 0
}

// run moves packets until the device is gone or the engine has other work.
func (q *queue) run() {
	// The Go runtime uses the thread for other goroutines afterwards.
	defer q.priority.raise(false)
	for !q.gone && !q.engine.stopping.Load() && len(q.engine.attached) == 0 {
		q.rounds.Add(1)
		f := q.engine.forwarding.Load()
		sent := q.sender.transmit(f)
		received := q.receiver.receive(f)
		if sent || received {
			q.failures = 0
			q.waiter.busy(q.counters[Tx+Bytes].Load() + q.counters[Rx+Bytes].Load())
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
		q.waiter.wait(full)
	}
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
		q.engine.log.Warn("refused packets that are said to be from a peer: the datagrams are not from its address",
			"subnet", p.Subnet, "want", p.Endpoint.Addr(), "from", address(from),
			"hint", "that host has several addresses or is behind NAT: set its --public-ip to the one that it sends from, "+
				"or allow that one here")
	})
}
