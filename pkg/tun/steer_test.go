package tun

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/labtest"
)

// TestFlowStaysInItsQueueWhenItIsAnswered answers each of many flows through
// each queue in turn.
func TestFlowStaysInItsQueueWhenItIsAnswered(t *testing.T) {
	labtest.Native(t)
	enter(t)
	d := mustOpen(t, Options{Name: "tun0", Queues: 4, NoHeader: true})
	if !d.Features().Steered {
		t.Skip("the kernel cannot be told")
	}
	ip(t, "addr add 10.9.0.1/24 dev tun0")
	ip(t, "link set tun0 up")
	used := make(map[int]int)
	for port := range 32 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 9, 0, 2}, Port: 1000 + port}); err != nil {
			t.Fatal(err)
		}
		first := -1
		for answer := range d.Queues() {
			if _, err := unix.Write(fd, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			queue, p := next(t, d, 1000+port)
			if first < 0 {
				first = queue
				used[queue]++
			}
			if queue != first {
				t.Fatalf("flow %d came from queue %d, after an answer from queue %d", port, queue, first)
			}
			// The checksums stay right when both ends are swapped.
			src, dst := [4]byte(p[12:16]), [4]byte(p[16:20])
			copy(p[12:], dst[:])
			copy(p[16:], src[:])
			from, to := [2]byte(p[20:22]), [2]byte(p[22:24])
			copy(p[20:], to[:])
			copy(p[22:], from[:])
			v := unix.Iovec{Base: &p[0]}
			v.SetLen(len(p))
			if errno := d.Queues()[answer].Writev([]unix.Iovec{v}); errno != 0 {
				t.Fatal(errno)
			}
		}
	}
	if len(used) != 4 {
		t.Errorf("32 flows are in queues %v, want some in each of 4", used)
	}
}

// next returns the next UDP packet to the port, and from which queue it came.
func next(t *testing.T, d *Device, port int) (int, []byte) {
	t.Helper()
	b := make([]byte, 2000)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for i, q := range d.Queues() {
			n, errno := q.Read(b)
			if errno == 0 && n > 28 && b[0] == 0x45 && b[9] == 17 && int(binary.BigEndian.Uint16(b[22:])) == port {
				return i, b[:n]
			}
		}
	}
	t.Fatal("no packet came")
	return 0, nil
}
