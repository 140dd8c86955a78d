package udpbatch

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SendBatch is a row of messages to send, each a datagram or a GSO batch of them.
// Not safe for concurrent use.
type SendBatch struct {
	headers  []unix.Mmsghdr
	names    []unix.RawSockaddrInet4
	controls []sendControl
	n, next  int // messages in it, of which these were dealt with
	refused  []Refusal
}

// Refusal is a message that the kernel did not take, by its place in the batch.
// For a GSO batch, EINVAL, EIO and EMSGSIZE may mean that the path's device cannot
// send batches, or datagrams of that size: one by one they may pass.
type Refusal struct {
	Message int
	Errno   unix.Errno
}

// NewSendBatch returns a batch with room for n messages.
func NewSendBatch(n int) *SendBatch {
	b := &SendBatch{
		headers:  make([]unix.Mmsghdr, n),
		names:    make([]unix.RawSockaddrInet4, n),
		controls: make([]sendControl, n),
		refused:  make([]Refusal, 0, n),
	}
	for i := range n {
		b.names[i].Family = unix.AF_INET
		h := &b.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
	}
	return b
}

// Add appends a message to an IPv4 address. The payload is what the pieces
// point to, together; they and it stay as they are until the message is sent.
// If it has more than segment bytes, and segment is not zero, then it is sent
// as datagrams of segment bytes, the last of which may be shorter. Add reports
// whether there was room.
func (b *SendBatch) Add(to netip.AddrPort, pieces []unix.Iovec, segment int) bool {
	if b.n == len(b.headers) {
		return false
	}
	name := &b.names[b.n]
	name.Addr = to.Addr().As4()
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
	h := &b.headers[b.n].Hdr
	h.Iov = unsafe.SliceData(pieces)
	h.SetIovlen(len(pieces))
	if segment == 0 {
		h.Control = nil
		h.SetControllen(0)
	} else {
		c := &b.controls[b.n]
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(c.set(segment))
	}
	b.n++
	return true
}

// Len returns the number of messages that were added.
func (b *SendBatch) Len() int { return b.n }

// Left returns the number of messages that are neither sent nor refused.
func (b *SendBatch) Left() int { return b.n - b.next }

// Refused returns the messages that the kernel did not take. It is valid until
// the next Send or Reset.
func (b *SendBatch) Refused() []Refusal { return b.refused }

// Reset empties the batch.
func (b *SendBatch) Reset() {
	b.n, b.next, b.refused = 0, 0, b.refused[:0]
}

func (b *SendBatch) send(fd int) unix.Errno {
	for b.next < b.n {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&b.headers[b.next])), uintptr(b.n-b.next), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.next += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return errno
		default:
			b.refused = append(b.refused, Refusal{b.next, errno})
			b.next++
		}
	}
	return 0
}
