package engine

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shortWait is how long a wait may hold the processor that the Go
	// scheduler lent us. Who gives it up each time waits longer than the
	// packet takes: round trips get half as long again.
	shortWait = 2 * time.Millisecond
	// idleAfter is how long nothing must have happened before it is given up.
	idleAfter = 100 * time.Millisecond

	// spinTime is how long a queue in the middle of a stream looks for more before
	// it sleeps. To wake a thread costs the one that does it, and takes longer than
	// a train does: one stream gets a tenth more.
	spinTime = 50 * time.Microsecond
	// spinFrom is how many bytes make a stream of what was moved since the last
	// sleep. Single packets, even many, are not worth a processor.
	spinFrom = 16 << 10
	// spinPays is how short the last time without work must have been: who always
	// waits longer spins in vain.
	spinPays = 2 * spinTime

	// stopRounds is how often a queue that never waits looks whether it is time to
	// stop.
	stopRounds = 256
)

// waiter waits for a queue's descriptors.
type waiter struct {
	fds     [4]unix.PollFd // device, socket, stop, ask
	hold    bool           // short waits are allowed
	idle    bool           // the last thing was a wait
	since   time.Time      // that it is
	moved   uint64         // bytes, from the start
	slept   uint64         // how many of them by the last sleep
	pays    bool           // spinning would have, the last time
	rounds  int            // of work, without a look at stop
	timeout unix.Timespec
}

const (
	waitDevice = iota
	waitSocket
	waitStop
	waitAsk
)

func newWaiter(device, socket, stop, ask int, hold bool) *waiter {
	w := &waiter{hold: hold}
	w.fds[waitDevice] = unix.PollFd{Fd: int32(device), Events: unix.POLLIN}
	w.fds[waitSocket] = unix.PollFd{Fd: int32(socket), Events: unix.POLLIN}
	w.fds[waitStop] = unix.PollFd{Fd: int32(stop), Events: unix.POLLIN}
	w.fds[waitAsk] = unix.PollFd{Fd: int32(ask), Events: unix.POLLIN}
	return w
}

// busy says that something was done, and how many bytes were moved from the start. It
// reports whether it is time to stop.
func (w *waiter) busy(moved uint64) (stop bool) {
	w.idle = false
	w.moved = moved
	if w.rounds++; w.rounds < stopRounds {
		return false
	}
	return w.poll(unix.POLLIN, unix.POLLIN, 0)
}

// spin reports whether to look for more once again, since some is likely to come
// before a thread could be woken.
func (w *waiter) spin() bool {
	if !w.spins(w.lasted()) {
		return false
	}
	// To whoever else wants the processor.
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

// wait waits until there is something to read, or something to do about an
// error, or for a short time. If full is true the socket has no room: then it
// waits for that and not for the device. It reports whether it is time to stop.
func (w *waiter) wait(full bool) (stop bool) {
	device, socket := int16(unix.POLLIN), int16(unix.POLLIN)
	if full {
		device, socket = 0, unix.POLLIN|unix.POLLOUT
	}
	limit := shortWait
	if !w.hold || w.lasted() >= idleAfter {
		limit = -1
	}
	stop = w.poll(device, socket, limit)
	w.slept, w.pays = w.moved, w.lasted() < spinPays
	return stop
}

// poll waits for events of the device and of the socket: for as long as it takes if
// limit is negative, and otherwise no longer than that, holding the processor. It
// reports whether it is time to stop.
func (w *waiter) poll(device, socket int16, limit time.Duration) (stop bool) {
	w.rounds = 0
	w.fds[waitDevice].Events, w.fds[waitSocket].Events = device, socket
	if limit >= 0 {
		// The kernel writes the time that was left into it.
		w.timeout = unix.NsecToTimespec(int64(limit))
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), uintptr(len(w.fds)),
			uintptr(unsafe.Pointer(&w.timeout)), 0, 0, 0)
	} else {
		// The only errors are a signal and no memory: a wait of no time.
		_, _ = unix.Ppoll(w.fds[:], nil, nil)
	}
	if w.fds[waitAsk].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(int(w.fds[waitAsk].Fd), count[:]) // or the next wait would be of no time
	}
	return w.fds[waitStop].Revents != 0
}
