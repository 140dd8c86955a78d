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
)

// waiter waits for a queue's descriptors.
type waiter struct {
	fds     [4]unix.PollFd // device, socket, stop, ask
	hold    bool           // short waits are allowed
	idle    bool           // the last thing was a wait
	since   time.Time      // that it is
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

// busy says that something was done.
func (w *waiter) busy() { w.idle = false }

// wait waits until there is something to read, or something to do about an
// error, or for a short time. If full is true the socket has no room: then it
// waits for that and not for the device. It reports whether it is time to stop.
func (w *waiter) wait(full bool) (stop bool) {
	w.fds[waitDevice].Events, w.fds[waitSocket].Events = unix.POLLIN, unix.POLLIN
	if full {
		w.fds[waitDevice].Events, w.fds[waitSocket].Events = 0, unix.POLLIN|unix.POLLOUT
	}
	now := time.Now()
	if !w.idle {
		w.idle, w.since = true, now
	}
	if w.hold && now.Sub(w.since) < idleAfter {
		// The kernel writes the time that was left into it.
		w.timeout = unix.NsecToTimespec(int64(shortWait))
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
