package engine

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shortWait is the longest wait that keeps the processor which the Go scheduler
	// lent us. To give it up each time takes longer than the packet does: round trips
	// get half as long again.
	shortWait = 2 * time.Millisecond
	// idleAfter is the time without work after which the processor is given up.
	idleAfter = 100 * time.Millisecond

	// spinTime is how long a queue in the middle of a stream looks for more before it
	// sleeps. To wake a thread costs the thread that does it, and takes longer than a
	// GSO batch does: one stream gets a tenth more by spinning.
	spinTime = 50 * time.Microsecond
	// spinFrom is the number of bytes since the last sleep that make a stream. Single
	// packets, even many, are not worth a processor.
	spinFrom = 16 << 10
	// spinPays is the longest time without work, at the last sleep, after which spinning
	// is tried again: a queue that always waits longer would spin in vain.
	spinPays = 2 * spinTime
)

// waiter waits for a queue's descriptors.
type waiter struct {
	fds     [3]unix.PollFd // device, socket, wake
	hold    bool           // short waits are allowed
	idle    bool           // there was no work in the last round
	since   time.Time      // when that began
	moved   uint64         // bytes from the start
	slept   uint64         // bytes from the start to the last sleep
	pays    bool           // spinning would have paid before the last sleep
	timeout unix.Timespec
}

const (
	waitDevice = iota
	waitSocket
	waitWake
)

func newWaiter(socket, wake int, hold bool) *waiter {
	// wait sets the events of the others; the device comes later.
	return &waiter{hold: hold, fds: [3]unix.PollFd{waitSocket: {Fd: int32(socket)}, waitWake: {Fd: int32(wake), Events: unix.POLLIN}}}
}

// busy says that something was done, and how many bytes were moved from the start.
func (w *waiter) busy(moved uint64) { w.idle, w.moved = false, moved }

// spin reports whether to look for more once again, since more is likely to come
// before a thread could be woken.
func (w *waiter) spin() bool {
	if !w.spins(w.lasted()) {
		return false
	}
	// Let others have the processor.
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return true
}

// spins is spin for a time without work.
func (w *waiter) spins(idle time.Duration) bool {
	return w.hold && w.pays && w.moved-w.slept >= spinFrom && idle < spinTime
}

// lasted returns for how long there has been nothing to do.
func (w *waiter) lasted() time.Duration {
	now := time.Now()
	if !w.idle {
		w.idle, w.since = true, now
	}
	return now.Sub(w.since)
}

// wait waits until there is something to read or an error to handle, or for a short
// time, in which it keeps the processor. If full is true the socket has no room: then it
// waits for room and not for the device.
func (w *waiter) wait(full bool) {
	device, socket := int16(unix.POLLIN), int16(unix.POLLIN)
	if full {
		device, socket = 0, unix.POLLIN|unix.POLLOUT
	}
	w.fds[waitDevice].Events, w.fds[waitSocket].Events = device, socket
	if w.hold && w.lasted() < idleAfter {
		// The kernel writes the time that was left into it.
		w.timeout = unix.NsecToTimespec(int64(shortWait))
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), uintptr(len(w.fds)),
			uintptr(unsafe.Pointer(&w.timeout)), 0, 0, 0)
	} else {
		// The only errors are a signal and no memory: then the wait was short.
		_, _ = unix.Ppoll(w.fds[:], nil, nil)
	}
	if w.fds[waitWake].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(int(w.fds[waitWake].Fd), count[:]) // or the next wait would return at once
	}
	w.slept, w.pays = w.moved, w.lasted() < spinPays
}

// pause waits for a second, or until it is woken.
func (w *waiter) pause() { _, _ = unix.Ppoll(w.fds[waitWake:], &unix.Timespec{Sec: 1}, nil) }
