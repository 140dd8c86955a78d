package engine

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTestWaiter returns a waiter and the eventfd of its device.
func newTestWaiter(t *testing.T, hold bool) (w *waiter, device int) {
	t.Helper()
	var fds [3]int
	for i := range fds {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		must(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		fds[i] = fd
	}
	w, err := newWaiter(fds[waitSocket], fds[waitWake], hold)
	must(t, err)
	t.Cleanup(w.close)
	must(t, w.attach(fds[waitDevice]))
	return w, fds[waitDevice]
}

func signal(t *testing.T, fd int) {
	t.Helper()
	_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 1})
	must(t, err)
}

// TestSpinningPays has the cases in which a queue spins.
func TestSpinningPays(t *testing.T) {
	for _, c := range []struct {
		name  string
		hold  bool          // there is another processor
		short bool          // the last time without work was
		bytes uint64        // moved since then
		idle  time.Duration // this time, so far
		want  bool
	}{
		{"a stream", true, true, spinFrom, spinTime - 1, true},
		{"packets", true, true, spinFrom - 1, 0, false},
		{"a slow stream", true, false, spinFrom, 0, false},
		{"long enough", true, true, spinFrom, spinTime, false},
		{"one processor", false, true, spinFrom, 0, false},
	} {
		w, device := newTestWaiter(t, c.hold)
		signal(t, device) // or the wait would not end
		w.moved = spinFrom
		// The machine may stop for a moment, which makes a short time long.
		for range 1000 {
			w.idle = false
			if !c.short {
				w.idle, w.since = true, time.Now().Add(-spinPays)
			}
			w.wait()
			if w.pays || !c.short {
				break
			}
		}
		if w.spins(0) {
			t.Errorf("%s: spins right after a sleep", c.name)
		}
		w.busy(w.moved + c.bytes)
		if got := w.spins(c.idle); got != c.want {
			t.Errorf("%s: spins is %t, want %t", c.name, got, c.want)
		}
	}
}

func TestSpinningEnds(t *testing.T) {
	w, device := newTestWaiter(t, true)
	signal(t, device)
	for !w.pays {
		w.idle = false
		w.wait()
	}
	w.busy(spinFrom)
	start := time.Now()
	for w.spin() {
		if time.Since(start) > 10*time.Second {
			t.Fatal("it spins for ever")
		}
	}
	if d := time.Since(start); d < spinTime {
		t.Errorf("it spun for %s, want %s", d, spinTime)
	}
}

func TestAQueueStopsHoweverBusy(t *testing.T) {
	q := &queue{engine: &Engine{}}
	q.engine.stopping.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.run()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it does not stop")
	}
}

// TestParkEnds has what ends a park: what was there before, and what comes meanwhile.
func TestParkEnds(t *testing.T) {
	w, device := newTestWaiter(t, true)
	for _, early := range []bool{true, false} {
		for _, which := range []int{waitDevice, waitSocket, waitWake} {
			fd := int(w.fds[which].Fd)
			var parked atomic.Bool
			done := make(chan struct{})
			go func() {
				for early && !parked.Load() {
					runtime.Gosched()
				}
				w.park(func() bool {
					var count [8]byte
					_, err := unix.Read(fd, count[:])
					parked.Store(true)
					return err == nil
				})
				close(done)
			}()
			for !early && !parked.Load() {
				runtime.Gosched()
			}
			signal(t, fd)
			parked.Store(true)
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatalf("descriptor %d, early %t: still parked", which, early)
			}
		}
	}
	// A device that is replaced does not end it any more, even if it still exists.
	w.detach()
	other, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(other) })
	must(t, w.attach(other))
	signal(t, device)
	signal(t, other)
	w.park(func() bool {
		var count [8]byte
		_, err := unix.Read(other, count[:])
		return err == nil
	})
}

// TestOnlyAParkReports to the scheduler what there is to read: any other packet would wake one
// of its threads in vain.
func TestOnlyAParkReports(t *testing.T) {
	w, device := newTestWaiter(t, true)
	reports := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.epoll), Events: unix.POLLIN}}, 0)
		must(t, err)
		return n > 0
	}
	signal(t, device)
	if w.wait(); reports() {
		t.Error("it reports what ended a wait")
	}
	w.park(func() bool {
		if !reports() {
			t.Error("parked, it does not report what there is")
		}
		return true
	})
	if reports() {
		t.Error("it still reports after a park")
	}
}
