package engine

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// stream sends numbered datagrams for some time, as fast as they arrive, and
// returns how many did and how many came before one that was sent earlier. If
// asked to, the receiver answers some of them.
func stream(t testing.TB, from, to *netlab.Container, d time.Duration, size int, answer bool) (run func() (received, overtaken int)) {
	t.Helper()
	out, in := socket(t, from, udpbatch.Options{}), socket(t, to, udpbatch.Options{NoGRO: true})
	var seen atomic.Uint32
	var end atomic.Bool
	send := func() {
		defer end.Store(true)
		const train = 16
		b, batch := make([]byte, train*size), udpbatch.NewSendBatch(1)
		deadline, moved := time.Now().Add(d), time.Now()
		for next := uint32(1); time.Now().Before(deadline); {
			if next > seen.Load()+1024 && time.Since(moved) < 20*time.Millisecond {
				time.Sleep(50 * time.Microsecond)
				continue
			}
			moved = time.Now()
			for i := range train {
				binary.BigEndian.PutUint32(b[i*size:], next)
				next++
			}
			batch.Reset()
			batch.Add(in.LocalAddr(), appendPiece(nil, b), size)
			_ = out.Send(batch)
		}
	}
	return func() (received, overtaken int) {
		var wg sync.WaitGroup
		wg.Go(send)
		batch, reply := udpbatch.NewReceiveBatch(64, make([]byte, 64*2048)), udpbatch.NewSendBatch(1)
		fds := []unix.PollFd{{Fd: int32(in.FD()), Events: unix.POLLIN}}
		last := uint32(0)
		for {
			if in.Receive(batch) != 0 {
				if n, _ := unix.Poll(fds, 50); n == 0 && end.Load() {
					break
				}
				continue
			}
			for i := range batch.Len() {
				m := batch.Message(i)
				seq := binary.BigEndian.Uint32(m.Payload)
				if received++; seq <= last {
					overtaken++
				}
				last = seq
				if answer && seq%8 == 0 {
					reply.Reset()
					reply.Add(m.From, appendPiece(nil, m.Payload[:4]), 0)
					_ = in.Send(reply)
				}
			}
			seen.Store(last)
		}
		wg.Wait()
		return received, overtaken
	}
}

func TestFlowsKeepTheirOrder(t *testing.T) {
	for name, r := range map[string]rung{
		"one queue":   {},
		"two queues":  {tun: tun.Options{Queues: 2}},
		"four queues": {tun: tun.Options{Queues: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t)
			connect(t, a, b, r, r)
			const d = 800 * time.Millisecond
			var wg sync.WaitGroup
			for n := range 8 {
				from, to := a.c, b.c
				if n%2 == 1 {
					from, to = to, from
				}
				run := stream(t, from, to, d, 100+200*(n/2), n >= 4)
				wg.Go(func() {
					received, overtaken := run()
					if overtaken > 0 || received < 1000 {
						t.Errorf("flow %d: %d of %d datagrams were overtaken", n, overtaken, received)
					}
					t.Logf("flow %d: %d datagrams", n, received)
				})
			}
			transferTCP(t, a.c, b.c, 8<<20)
			transferTCP(t, b.c, a.c, 8<<20)
			wg.Wait()
			for i, q := range a.queues {
				t.Logf("a queue %d: tx %d rx %d", i, q.counters[Tx+Packets].Load(), q.counters[Rx+Packets].Load())
			}
		})
	}
}
