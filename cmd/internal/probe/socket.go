package probe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"
)

// socket sends echoes to one address, one after the other. It is of the kind that any user
// may open if the kernel says so (net.ipv4.ping_group_range, icmp(7)), and else a raw one.
type socket struct {
	family
	file            *os.File
	conn            syscall.RawConn
	raw             bool
	id              int    // of our echoes
	seq             int    // of the last one
	packet, control []byte // room for what is received
}

// open returns a socket for the address's family. Close it.
func open(a netip.Addr) (*socket, error) {
	s := &socket{family: familyOf(a), packet: make([]byte, 1<<16), control: make([]byte, 512)}
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(s.domain, unix.SOCK_DGRAM|flags, s.protocol)
	if err != nil {
		s.raw, s.id = true, rand.N(1<<16)
		fd, err = unix.Socket(s.domain, unix.SOCK_RAW|flags, s.protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket for ICMP echoes: %w", err)
	}
	s.file = os.NewFile(uintptr(fd), "icmp")
	// No packet is fragmented here, and what is remembered of the path does not count.
	err = unix.SetsockoptInt(fd, s.level, s.discover, unix.IP_PMTUDISC_PROBE)
	if err == nil && s.protocol == unix.IPPROTO_ICMPV6 {
		err = unix.SetsockoptInt(fd, s.level, unix.IPV6_DONTFRAG, 1)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, s.level, s.recvErr, 1)
	}
	if err == nil {
		s.conn, err = s.file.SyscallConn()
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("set up a socket for ICMP echoes: %w", err)
	}
	return s, nil
}

func (s *socket) close() { _ = s.file.Close() }

// connect has the socket talk with one address, and hear of its packets alone.
func (s *socket) connect(a netip.Addr) (err error) {
	failed := s.conn.Control(func(fd uintptr) {
		if err = unix.Connect(int(fd), sockaddr(a)); err != nil {
			err = fmt.Errorf("find a way to %s: %w", a, err)
		} else if !s.raw {
			s.id, err = port(int(fd)) // which the kernel writes into each echo
		}
	})
	return errors.Join(failed, err)
}

// ask sends an echo of so many bytes, and waits for what comes of it. The error is why it
// cannot be sent, or what a router answers, but for what the answer says.
func (s *socket) ask(size int, wait time.Duration) (a answer, err error) {
	s.seq = (s.seq + 1) & 0xffff
	echo, err := (&icmp.Message{Type: s.echo, Body: &icmp.Echo{ID: s.id, Seq: s.seq, Data: make([]byte, size-s.headers)}}).Marshal(nil)
	if err != nil {
		return a, err
	}
	start := time.Now()
	for range 2 { // the first may get the error that a packet before has met
		if _, err = s.file.Write(echo); err == nil {
			break
		}
	}
	if errors.Is(err, unix.EMSGSIZE) {
		return answer{limit: size - 1}, nil // the device says so
	}
	if err == nil {
		err = s.file.SetReadDeadline(start.Add(wait))
	}
	for err == nil {
		var met *refusal
		if a.came, met, err = s.receive(); a.came {
			a.took = time.Since(start)
			return a, nil
		} else if met != nil && met.limit > 0 {
			return answer{limit: min(met.limit, size-1)}, nil
		} else if met != nil {
			return a, met.err
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return a, err
}

// receive waits for one packet. It reports whether it is the answer to the last echo, or
// what was met on its way; neither: the packet has nothing to do with that.
func (s *socket) receive() (came bool, met *refusal, err error) {
	failed := s.conn.Read(func(fd uintptr) bool {
		var n, control int
		if n, control, _, _, err = unix.Recvmsg(int(fd), s.packet, s.control, unix.MSG_ERRQUEUE); err == nil {
			if s.quotes(s.packet[:n], s.id, s.seq) {
				met = s.refusal(s.control[:control])
			}
			return true
		}
		if n, err = unix.Read(int(fd), s.packet); err == nil {
			came = s.answers(s.packet[:n], s.raw, s.id, s.seq)
			return true
		}
		if wait := errors.Is(err, unix.EAGAIN); wait {
			return false
		}
		err = nil // it is in the queue of errors, too
		return true
	})
	if failed != nil {
		return false, nil, failed
	}
	return came, met, err
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

func port(fd int) (int, error) {
	own, err := unix.Getsockname(fd)
	switch own := own.(type) {
	case *unix.SockaddrInet4:
		return own.Port, err
	case *unix.SockaddrInet6:
		return own.Port, err
	}
	return 0, err
}
