package engine

import (
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shortWait is the longest wait that keeps the processor which the Go scheduler
	// lent us. To give it up each time takes longer than the packet does: round trips
	// get half as long again. Of packets that come every 20 ms each takes 40 µs longer with
	// 50 ms, as the code falls out of the processor's cache, and no less with 2 ms, which
	// takes more than twice the processor time. docs/udp-latency.md has
	// where the time goes, and what else was tried.
	shortWait = 8 * time.Millisecond
	// idleAfter is the time without work after which the processor is given up.
	idleAfter = 500 * time.Millisecond

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
	epoll   int // the set of all fds, which reports nothing but while it is parked
	file    *os.File
	set     syscall.RawConn
}

const (
	waitDevice = iota
	waitSocket
	waitWake
)

func newWaiter(socket, wake int, hold bool) (*waiter, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	// That is how os.NewFile knows that it can be waited for.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	w := &waiter{hold: hold, epoll: fd, file: os.NewFile(uintptr(fd), "epoll"),
		fds: [3]unix.PollFd{waitSocket: {Fd: int32(socket)}, waitWake: {Fd: int32(wake), Events: unix.POLLIN}}}
	if w.set, err = w.file.SyscallConn(); err == nil {
		err = errors.Join(w.control(unix.EPOLL_CTL_ADD, waitSocket, 0), w.control(unix.EPOLL_CTL_ADD, waitWake, 0))
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// attach makes it wait for a device, until detach.
func (w *waiter) attach(device int) error {
	w.fds[waitDevice].Fd = int32(device)
	return w.control(unix.EPOLL_CTL_ADD, waitDevice, 0)
}

func (w *waiter) detach() {
	_ = w.control(unix.EPOLL_CTL_DEL, waitDevice, 0) // it is in it
}

func (w *waiter) close() { _ = w.file.Close() }

// control changes the set.
func (w *waiter) control(operation, which int, events uint32) error {
	fd := int(w.fds[which].Fd)
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.epoll, operation, fd, &unix.EpollEvent{Events: events}))
}

// report makes the set report events of all descriptors.
func (w *waiter) report(events uint32) {
	for which := range w.fds {
		_ = w.control(unix.EPOLL_CTL_MOD, which, events) // they are in it
	}
}

// bySocket reports whether the last wait that looked was ended by the socket alone.
func (w *waiter) bySocket() bool {
	return w.fds[waitSocket].Revents != 0 && w.fds[waitDevice].Revents == 0
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

// holds reports whether more is likely to come so soon that the processor should be kept
// meanwhile.
func (w *waiter) holds() bool { return w.hold && w.lasted() < idleAfter }

// wait waits until there is something to read or an error to handle, or for a short time.
// It keeps the processor.
func (w *waiter) wait() {
	w.fds[waitDevice].Events, w.fds[waitSocket].Events = unix.POLLIN, unix.POLLIN
	// The kernel writes the time that was left into it.
	w.timeout = unix.NsecToTimespec(int64(shortWait))
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds)), uintptr(len(w.fds)),
		uintptr(unsafe.Pointer(&w.timeout)), 0, 0, 0)
	w.woke()
}

// waitForRoom is wait for a socket that has no room, and gives the processor up. The device
// has to wait, too.
func (w *waiter) waitForRoom() {
	w.fds[waitDevice].Events, w.fds[waitSocket].Events = 0, unix.POLLIN|unix.POLLOUT
	// The only errors are a signal and no memory: then the wait was short.
	_, _ = unix.Ppoll(w.fds[:], nil, nil)
	w.woke()
}

// woke takes note of the end of a wait that looks at the descriptors' state.
func (w *waiter) woke() {
	if w.fds[waitWake].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(int(w.fds[waitWake].Fd), count[:]) // or the next wait would return at once
	}
	w.slept, w.pays = w.moved, w.lasted() < spinPays
}

// park gives the processor up until again returns true. It is called first and then
// whenever there is something new to read.
//
// The Go scheduler waits for the descriptors by itself, in its own epoll set, in which all
// of them are one. What waits in a system call of its own comes back late: the scheduler
// has taken the processor away, wakes its monitor when that is asked for again, and the
// monitor takes the thread for one that has had it all the time, and interrupts it.
//
// Otherwise the set reports nothing: a thread of the scheduler waits for it too, as long as
// any goroutine waits for the network, and each packet would wake that as well, in vain.
func (w *waiter) park(again func() bool) {
	w.slept, w.pays = w.moved, false
	w.report(unix.EPOLLIN)
	defer w.report(0)
	_ = w.set.Read(func(uintptr) bool { return again() }) // no error before it is closed
}

// pause waits for a second, or until it is woken.
func (w *waiter) pause() { _, _ = unix.Ppoll(w.fds[waitWake:], &unix.Timespec{Sec: 1}, nil) }
