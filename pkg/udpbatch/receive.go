package udpbatch

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReceiveBatch is room for messages to receive, each a datagram or a GSO
// batch. Not safe for concurrent use.
type ReceiveBatch struct {
	headers  []unix.Mmsghdr
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrInet4
	controls []receiveControl
	buffers  []byte
	size     int // of a message's part of buffers
	limit    int // of the messages that a call receives
	n        int // messages in it
}

// Received is a message. The payload is valid until the next Receive into the
// same batch.
type Received struct {
	From    netip.AddrPort
	Payload []byte
	// Segment is the length in bytes of the datagrams in Payload, the last of
	// which may be shorter. It is zero if there is only one.
	Segment int
	// Truncated says that there was more than the batch has room for, or that
	// Segment is not known. What there is should not be used.
	Truncated bool
}

// NewReceiveBatch returns room for n messages, each in an equal part of the buffer. A GSO
// batch takes up to 64 KiB.
func NewReceiveBatch(n int, buffer []byte) *ReceiveBatch {
	size := len(buffer) / n
	b := &ReceiveBatch{
		headers:  make([]unix.Mmsghdr, n),
		iovecs:   make([]unix.Iovec, n),
		names:    make([]unix.RawSockaddrInet4, n),
		controls: make([]receiveControl, n),
		buffers:  buffer,
		size:     size,
		limit:    n,
		n:        n, // so that the first reset is of all
	}
	for i := range n {
		b.iovecs[i].Base = &b.buffers[i*size]
		b.iovecs[i].SetLen(size)
		h := &b.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
	}
	b.reset()
	return b
}

// reset undoes what the kernel wrote into the headers that it used.
func (b *ReceiveBatch) reset() {
	for i := range b.n {
		h := &b.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet4
		h.SetControllen(len(b.controls[i].bytes))
		h.Flags = 0
	}
	b.n = 0
}

// Len returns the number of messages that the last Receive put in.
func (b *ReceiveBatch) Len() int { return b.n }

// Message returns the message at an index below Len.
func (b *ReceiveBatch) Message(i int) Received {
	m, name := &b.headers[i], &b.names[i]
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	length := min(int(m.Len), b.size)
	r := Received{
		From:      netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(port[0])<<8|uint16(port[1])),
		Payload:   b.buffers[i*b.size:][:length:length],
		Segment:   segment(b.controls[i].bytes[:m.Hdr.Controllen]),
		Truncated: m.Hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0,
	}
	if r.Segment >= length {
		r.Segment = 0
	}
	return r
}

// Limit makes later calls receive at most n messages, of those that there is room for.
func (b *ReceiveBatch) Limit(n int) { b.limit = max(1, min(n, len(b.headers))) }

func (b *ReceiveBatch) receive(fd int) unix.Errno {
	b.reset()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&b.headers[0])), uintptr(b.limit), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.n = int(n)
			return 0
		case unix.EINTR:
			continue
		}
		// The kernel may have begun on the first header.
		b.n = 1
		b.reset()
		return errno
	}
}
