package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

// Single datagrams that arrive in more than one batch become as few packets as
// those of one batch would, and none is overwritten meanwhile by those that come
// after it.
func TestRunsGoOnInTheNextBatch(t *testing.T) {
	const batches, size = 4, 1200
	a, b := newPair(t)
	a.open(t, rung{udp: udpbatch.Options{NoSegment: true}})
	b.open(t, rung{})
	if b.device.Features().Offloads&tun.USO4 == 0 {
		t.Skip("the kernel takes no joined UDP packets from a device: Linux 6.2 does")
	}
	from, to := a.c.Addr().Addr().As4(), b.c.Addr().Addr().As4()
	into := socket(t, b.c, udpbatch.Options{NoGRO: true})
	out := udpbatch.NewSendBatch(receiveMessages)
	// Each processor has a queue of its own for what has been sent by a veth: what two of
	// them send arrives in any order.
	runtime.LockOSThread() // for good: the thread ends with the test
	var all, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	for i := range batches {
		out.Reset()
		for j := range receiveMessages {
			n := i*receiveMessages + j
			payload := make([]byte, 8+size)
			binary.BigEndian.PutUint16(payload, 9)
			binary.BigEndian.PutUint16(payload[2:], into.LocalAddr().Port())
			for k := 8; k < len(payload); k += 4 {
				binary.BigEndian.PutUint32(payload[k:], uint32(n))
			}
			k := kind{protocol: 17, payload: func(*rand.Rand, int) []byte { return payload }}
			p := k.packet(nil, n, from, to)
			binary.BigEndian.PutUint16(p[10:], ^naiveSum(p[:20]))
			out.Add(b.endpoint(), appendPiece(nil, p), 0)
		}
		if errno := a.conns[0].Send(out); errno != 0 || len(out.Refused()) > 0 {
			t.Fatal(errno, out.Refused())
		}
	}
	// All have arrived before the first batch is received.
	b.start(t, b.state(a))

	in := udpbatch.NewReceiveBatch(1, make([]byte, mtu))
	for n := range batches * receiveMessages {
		eventually(t, func() bool { return into.Receive(in) == 0 }, func() any { return fmt.Sprintf("datagram %d is missing", n) })
		payload := in.Message(0).Payload
		for k := 0; k < len(payload); k += 4 {
			if got := binary.BigEndian.Uint32(payload[k:]); len(payload) != size || got != uint32(n) {
				t.Fatalf("datagram %d: %d bytes, at %d there is %d", n, len(payload), k, got)
			}
		}
	}
	// 65535 bytes have room for so many.
	const each = (65535 - 28) / size
	if got, want := b.Counters()[Rx+Units], uint64((batches*receiveMessages+each-1)/each); got != want {
		t.Errorf("%d datagrams were written as %d packets, want %d", batches*receiveMessages, got, want)
	}
}
