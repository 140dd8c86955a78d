package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// socket is a rtnetlink socket. Not safe for concurrent use.
type socket struct {
	*os.File
	fd   int // the file's
	room int // bytes of kernel memory for what is not received yet
	buf  []byte
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

func open(groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{File: os.NewFile(uintptr(fd), "netlink"), fd: fd, buf: make([]byte, receiveSize)}
	// In a user namespace, as of an unprivileged container, the queue stays as it is,
	// and has room for some 200 failures.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveQueue)
	// Since Linux 4.3, 4.12 and 4.20; without them answers are longer, and say less.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	s.room, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	err = errors.Join(err, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	for _, g := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("set up netlink socket: %w", err)
	}
	return s, nil
}

// exchange sends n requests, numbered from first, and calls f for each answer until it
// returns true; i is 0 for the first request. The payload is valid only during the call.
func (s *socket) exchange(requests []byte, first uint32, n int, f func(i int, h header, payload []byte) bool) error {
	if err := s.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := s.Write(requests); err != nil {
		return fmt.Errorf("send %d netlink requests: %w", n, err)
	}
	for done := false; !done; {
		err := s.receive(func(h header, payload []byte) {
			if i := h.seq - first; i < uint32(n) {
				done = f(int(i), h, payload) || done
			}
		})
		if err != nil {
			return fmt.Errorf("receive netlink answers: %w", err)
		}
	}
	return nil
}

// receive calls f for each message of the next datagram. The payload is valid
// only during the call.
func (s *socket) receive(f func(h header, payload []byte)) error {
	n, err := unix.Read(s.fd, s.buf) // an answer is there at once: the poller takes a tenth longer
	if errors.Is(err, unix.EAGAIN) {
		n, err = s.Read(s.buf)
	}
	if err != nil {
		return err
	}
	return messages(s.buf[:n], f)
}

// follow calls f for each notification until ctx is done, and lost when some were lost.
func (s *socket) follow(ctx context.Context, f func(h header, payload []byte), lost func()) error {
	defer context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })()
	for ctx.Err() == nil {
		err := s.receive(f)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // ctx is done
		case errors.Is(err, unix.ENOBUFS):
			lost()
		case err != nil:
			return fmt.Errorf("watch network changes: %w", err)
		}
	}
	return nil
}

type header struct {
	typ, flags uint16
	seq        uint32
}

// messages calls f for each message of what was read at once, and returns an error if
// their lengths do not add up.
func messages(b []byte, f func(h header, payload []byte)) error {
	for len(b) >= unix.SizeofNlMsghdr {
		h := header{native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])}
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return fmt.Errorf("netlink message of %d bytes in %d", size, len(b))
		}
		f(h, b[unix.SizeofNlMsghdr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// refusal reads an NLMSG_ERROR or NLMSG_DONE payload; nil for an acknowledgement. It
// has what the kernel adds in words (struct nlmsgerr and NLMSGERR_ATTR_MSG of
// linux/netlink.h): many reasons share an errno. A kernel that adds them repeats no more
// of the request than its header.
func refusal(h header, payload []byte) error {
	const words = 4 + unix.SizeofNlMsghdr
	if len(payload) < 4 {
		return nil
	}
	n := int32(native.Uint32(payload))
	if n >= 0 {
		return nil
	}
	if h.typ == unix.NLMSG_ERROR && h.flags&unix.NLM_F_ACK_TLVS != 0 && len(payload) >= words {
		if text := unix.ByteSliceToString(attrs(payload[words:])[unix.NLMSGERR_ATTR_MSG]); text != "" {
			return fmt.Errorf("%w (%s)", unix.Errno(-n), text)
		}
	}
	return unix.Errno(-n)
}

// dump sends one request and calls f with each answer. If the tables changed
// meanwhile the answers may be inconsistent and the error is ErrDumpInterrupted.
func (s *socket) dump(request []byte, seq uint32, f func(payload []byte)) error {
	var failed, interrupted error
	err := s.exchange(request, seq, 1, func(_ int, h header, payload []byte) bool {
		if h.flags&unix.NLM_F_DUMP_INTR != 0 {
			interrupted = netlink.ErrDumpInterrupted
		}
		if h.typ == unix.NLMSG_DONE || h.typ == unix.NLMSG_ERROR {
			failed = refusal(h, payload)
			return true
		}
		f(payload)
		return false
	})
	return cmp.Or(err, failed, interrupted)
}
