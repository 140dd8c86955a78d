package engine

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/hugepage"
	"flanneld/pkg/offload"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

const (
	// maxRead is the largest packet with its header.
	maxRead = tun.HeaderLen + 65535
	// arenaSize has room for two of the largest packets and some small ones:
	// 45 segments make a train of 44 and a rest, which the next packet fills.
	arenaSize = 192 << 10
	// maxReads bounds how long received packets wait while small ones are
	// read; it fills two trains.
	maxReads = 2 * udpbatch.MaxSegments
	// receiveMessages is how many messages one call receives. With 4 in place
	// of 64 a network card that hands on single datagrams gets a third less.
	receiveMessages = 64
	// receiveTrains is the same while trains come. More of them are in no cache any
	// more when they are written to the device, and who waits for the first waits for
	// the last: one flow gets a twentieth less.
	receiveTrains = 8
	// trainBytes received in each message on average say that trains come.
	trainBytes = 8 << 10
	// trainSize has room for a train, and spreads the messages' beginnings
	// over the cache, which powers of two would not.
	trainSize = 64<<10 + 9*64
	// datagramSize is of a socket that receives single ones: a jumbo frame.
	datagramSize = 16<<10 + 9*64
	// maxFailures in a row, each with a wait that returned at once, are no
	// accident.
	maxFailures = 1000
)

// queue moves packets in both directions. All of it belongs to one thread, but
// for the counters.
type queue struct {
	engine   *Engine
	tun      *tun.Queue
	conn     *udpbatch.Conn
	header   bool          // the device has one before each packet
	ask      int           // eventfd that ends a wait
	rounds   atomic.Uint64 // of run
	counters counters
	waiter   *waiter
	reports  limiter
	priority priority
	failures int   // calls in a row that failed for no good reason
	err      error // that ends the queue

	arena    []byte // packets from the device
	splitter offload.Splitter
	out      outbox
	resend   *udpbatch.SendBatch // the packets of a train
	single   *udpbatch.SendBatch // a datagram

	in        *udpbatch.ReceiveBatch // the one that is received into
	last      *udpbatch.ReceiveBatch // the one before, which the open run may still use
	coalescer offload.Coalescer
	encoded   [offload.HeaderLen]byte
	pieces    []unix.Iovec
	admitted  admission
}

// newQueue makes a queue, to which the eventfd ask belongs from then on.
func newQueue(e *Engine, device *tun.Queue, conn *udpbatch.Conn, ask int, hold bool, p priority) *queue {
	size := datagramSize
	if conn.Features().GRO {
		size = trainSize
	}
	features := e.device.Features()
	// Packets that are sent lie in one huge page, with their headers.
	page := hugepage.Make(hugepage.Size)
	q := &queue{
		engine:   e,
		tun:      device,
		conn:     conn,
		ask:      ask,
		header:   features.Header,
		waiter:   newWaiter(device.FD(), conn.FD(), e.stop, ask, hold),
		reports:  limiter{perSecond: 1},
		priority: p,
		arena:    page[:arenaSize:arenaSize],
		out:      newOutbox(conn.Features().Segment, page[arenaSize:][:headArena]),
		resend:   udpbatch.NewSendBatch(udpbatch.MaxSegments),
		single:   udpbatch.NewSendBatch(1),
		in:       udpbatch.NewReceiveBatch(receiveMessages, size),
		last:     udpbatch.NewReceiveBatch(receiveMessages, size),
		pieces:   make([]unix.Iovec, 0, 256),
	}
	q.coalescer.Emit = q.write
	q.coalescer.UDP = features.Offloads&tun.USO4 != 0
	if features.Offloads&tun.TSO4 == 0 {
		q.coalescer.MaxSegments = 1
	}
	return q
}

// run moves packets until it is told to stop, which is no error.
func (q *queue) run() error {
	// The thread goes on with something else.
	defer q.priority.raise(false)
	for {
		q.rounds.Add(1)
		f := q.engine.forwarding.Load()
		sent := q.transmit(f)
		received := q.receive(f)
		if q.err != nil {
			return q.err
		}
		if sent || received {
			q.failures = 0
			if q.waiter.busy(q.counters.tx.bytes.Load() + q.counters.rx.bytes.Load()) {
				return nil
			}
			continue
		}
		if q.failures > maxFailures {
			return fmt.Errorf("%d system calls failed", q.failures)
		}
		full := q.out.left() > 0
		if !full && q.waiter.spin() {
			continue
		}
		q.counters.waits.Add(1)
		if q.waiter.wait(full) {
			return nil
		}
	}
}

// isGone reports whether an error number of the device means that there is none
// any more.
func isGone(errno unix.Errno) bool {
	return errno == unix.EBADFD || errno == unix.ENODEV || errno == unix.EBADF
}

// report passes on that a peer's packets came from elsewhere, once for each
// peer and not too often.
func (q *queue) report(p *peer, from uint32) {
	if p.reported.Load() || !q.reports.allow(time.Now()) {
		return
	}
	select {
	case q.engine.reports <- report{p.Peer, address(from)}:
		p.reported.Store(true)
	default:
	}
}
