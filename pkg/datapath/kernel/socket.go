package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a rtnetlink socket. Not safe for concurrent use.
type socket struct {
	fd   int
	room int // bytes of kernel memory for what is not received yet
	buf  []byte
	file *os.File // set by park
}

const (
	// receiveSize holds the largest part of a dump that the kernel hands out at
	// once (32 KiB).
	receiveSize = 64 << 10
	// receiveQueue is room for the error replies to one batch, about 1 KiB of
	// kernel memory each.
	receiveQueue = 4 << 20
	// answerTimeout bounds the wait for an answer, which the kernel gives at
	// once: it never elapses unless something is badly wrong.
	answerTimeout = 10 * time.Second
)

func open(groups ...uint32) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.setup(groups); err != nil {
		s.close()
		return nil, fmt.Errorf("set up netlink socket: %w", err)
	}
	return s, nil
}

func (s *socket) setup(groups []uint32) error {
	timeout := unix.NsecToTimeval(int64(answerTimeout))
	// In a user namespace, as of an unprivileged container, the queue stays as it is,
	// and has room for some 200 failures.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveQueue)
	var err error
	if s.room, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
		return err
	}
	// Since Linux 4.3, 4.12 and 4.20; without them answers are longer, and say less.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(g)); err != nil {
			return err
		}
	}
	s.buf = make([]byte, receiveSize)
	return nil
}

func (s *socket) close() {
	if s.file != nil {
		_ = s.file.Close()
		return
	}
	_ = unix.Close(s.fd)
}

// park hands the socket to the runtime's poller, where a receive that waits
// costs no thread and no wake-ups. For sockets that wait for long only: the
// poller makes each receive dearer. The function returned makes the receive
// that waits, and each one after it, fail with os.ErrDeadlineExceeded.
func (s *socket) park() (interrupt func(), err error) {
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return nil, err
	}
	s.file = os.NewFile(uintptr(s.fd), "netlink")
	if err := s.file.SetReadDeadline(time.Time{}); err != nil { // it can be polled
		return nil, err
	}
	return func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) }, nil
}

func (s *socket) send(b []byte) error {
	return unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive calls f for each message of the next datagram. The payload is valid
// only during the call.
func (s *socket) receive(f func(h header, payload []byte) error) error {
	n, err := s.read()
	if err != nil {
		return err
	}
	return messages(s.buf[:n], f)
}

// messages calls f for each message of what was read at once. The payload is valid
// only during the call. It ends with the first error, f's or its own about lengths
// that do not add up.
func messages(b []byte, f func(h header, payload []byte) error) error {
	for len(b) >= unix.SizeofNlMsghdr {
		h := header{native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])}
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return fmt.Errorf("netlink message of %d bytes in %d", size, len(b))
		}
		if err := f(h, b[unix.SizeofNlMsghdr:size]); err != nil {
			return err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

func (s *socket) read() (n int, err error) {
	if s.file == nil {
		n, err = ignoringEINTR(s.fd, s.buf)
		return n, err
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Read(func(fd uintptr) bool {
		n, err = ignoringEINTR(int(fd), s.buf)
		return !errors.Is(err, unix.EAGAIN)
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}

func ignoringEINTR(fd int, buf []byte) (n int, err error) {
	for {
		if n, _, err = unix.Recvfrom(fd, buf, 0); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

type header struct {
	typ, flags uint16
	seq        uint32
}

// errno reads an NLMSG_ERROR or NLMSG_DONE payload; nil for an acknowledgement.
func errno(payload []byte) error {
	if len(payload) < 4 {
		return nil
	}
	if n := int32(native.Uint32(payload)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

// refusal reads an NLMSG_ERROR as errno does, with what the kernel adds in words
// (struct nlmsgerr and NLMSGERR_ATTR_MSG of linux/netlink.h): many reasons share an
// errno.
func refusal(h header, payload []byte) error {
	err := errno(payload)
	if err == nil || h.flags&unix.NLM_F_ACK_TLVS == 0 || len(payload) < 4+unix.SizeofNlMsghdr {
		return err
	}
	request := unix.SizeofNlMsghdr // all that there is of it
	if h.flags&unix.NLM_F_CAPPED == 0 {
		request = int(native.Uint32(payload[4:])+3) &^ 3
	}
	var text string
	if at := 4 + request; request > 0 && at <= len(payload) {
		attrs(payload[at:], func(typ uint16, data []byte) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				text = unix.ByteSliceToString(data)
			}
		})
	}
	if text == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, text)
}

// link asks for the index and the MTU, in bytes, of the link of that name. If there
// is none the error is ENODEV. Nothing may be under way on the socket.
func (s *socket) link(name string) (index, mtu int, err error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return 0, 0, errNoLink
	}
	const seq = 0 // batches have others
	var m buffer
	m.begin(unix.RTM_GETLINK, 0, seq)
	m.b = append(m.b, make([]byte, unix.SizeofIfInfomsg)...)
	m.attr(unix.IFLA_IFNAME, append([]byte(name), 0))
	m.end()
	if err := s.send(m.b); err != nil {
		return 0, 0, fmt.Errorf("look up link %s: %w", name, err)
	}
	for done := false; !done; {
		err := s.receive(func(h header, p []byte) error {
			switch {
			case h.seq != seq:
				return nil
			case h.typ == unix.NLMSG_ERROR:
				return errno(p)
			case h.typ == unix.RTM_NEWLINK && len(p) >= unix.SizeofIfInfomsg:
				done, index = true, int(native.Uint32(p[4:]))
				attrs(p[unix.SizeofIfInfomsg:], func(typ uint16, data []byte) {
					if typ == unix.IFLA_MTU {
						mtu = int(toUint32(data))
					}
				})
			}
			return nil
		})
		switch {
		case errors.Is(err, unix.ENODEV):
			return 0, 0, errNoLink
		case err != nil:
			return 0, 0, fmt.Errorf("look up link %s: %w", name, err)
		}
	}
	return index, mtu, nil
}

// sequence numbers requests over all sockets, from one on.
type sequence struct{ n atomic.Uint32 }

func (s *sequence) next() uint32 { return s.n.Add(1) }

var errInterrupted = errors.New("netlink dump was interrupted by a change")

// dump sends one request and calls f for each answer. If the tables changed
// meanwhile the answers may be inconsistent and the error is errInterrupted.
func (s *socket) dump(request []byte, seq uint32, f func(typ uint16, payload []byte)) error {
	if err := s.send(request); err != nil {
		return err
	}
	var done, interrupted bool
	for !done {
		err := s.receive(func(h header, payload []byte) error {
			if h.seq != seq {
				return nil
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				return errno(payload)
			}
			f(h.typ, payload)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}
