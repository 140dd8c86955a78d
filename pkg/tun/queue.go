package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue is one queue of a device. Its calls never block. They do not tell the
// Go scheduler of the system call either, as it would then take the processor
// away from a goroutine that makes many short ones. They return the error
// number as it is, zero if there is none:
//
//   - EAGAIN: nothing to read, or (rare) no room to write
//   - EIO: the device is down (write)
//   - EBADFD: the device is gone
//   - EINVAL: no packet or no header that the device understands (write)
type Queue struct{ fd int }

// FD returns the file descriptor, to poll it or hand it on. It stays the
// queue's.
func (q *Queue) FD() int { return q.fd }

// Read reads one packet, after its header if the device has one. What does not
// fit is lost.
func (q *Queue) Read(b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(q.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// Writev writes one packet, after its header if the device has one, that lies
// in pieces; at most 1024 of them.
func (q *Queue) Writev(pieces []unix.Iovec) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(q.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(pieces))), uintptr(len(pieces)))
		if errno != unix.EINTR {
			return errno
		}
	}
}
