// Package udpbatch sends and receives many UDP datagrams over IPv4 by one system
// call, and GSO batches, datagrams of one size that the kernel handles as one (Linux
// 4.18 to send, 5.0 to receive).
//
// It owns the socket and the layout of its messages. It does not know what is
// in the datagrams, and never waits: the caller polls [Conn.FD].
package udpbatch

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// MaxPayload is the most bytes in a datagram, and in a GSO batch.
	MaxPayload = 65535 - 20 - 8
	// MaxSegments is the most datagrams in a GSO batch that all kernels with GSO
	// send.
	MaxSegments = 64
	// BufferSize is the size in bytes asked for in each direction: room for what
	// arrives while the reader is not running. With 1 MB one stream of several Gbit/s
	// loses packets all the time. Without CAP_NET_ADMIN the buffers stay within
	// net.core.rmem_max and wmem_max.
	BufferSize = 8 << 20
)

// Options are what a socket should be like. The zero value works.
type Options struct {
	// ReusePort lets several sockets of one user have the same address. The
	// kernel chooses among them by the datagram's addresses and ports.
	ReusePort bool
	// NoSegment and NoGRO switch GSO off for sending and for receiving, as on a
	// kernel without it.
	NoSegment, NoGRO bool
}

// Features are what the kernel granted a socket.
type Features struct {
	Segment       bool // GSO batches can be sent
	GRO           bool // GSO batches are received
	ReceiveBuffer int  // bytes of payload and the kernel's own, in about equal parts
}

// Conn is a UDP socket. One goroutine at a time may send and one receive.
type Conn struct {
	fd       int
	local    netip.AddrPort
	features Features
}

// Listen binds a socket to a local IPv4 address in the network namespace of the
// calling thread. The unspecified address stands for all; port 0 for a free
// one. If the port is taken the error is unix.EADDRINUSE and names, as far as
// it can be seen, the process that has it.
func Listen(local netip.AddrPort, o Options) (*Conn, error) {
	if !local.Addr().Is4() {
		return nil, fmt.Errorf("listen on udp %s: not an IPv4 address", local)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make udp socket: %w", err)
	}
	c := &Conn{fd: fd}
	if err := c.listen(local, o); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on udp %s: %w", local, err)
	}
	return c, nil
}

func (c *Conn) listen(local netip.AddrPort, o Options) error {
	if o.ReusePort {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("share port: %w", err)
		}
	}
	// Before the bind: a datagram that was queued without GRO stays alone,
	// but one that found no room is lost.
	c.setup(o)
	err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return inUse(local, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("no interface has the address: %w", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: %w", err)
	case err != nil:
		return err
	}
	return c.name()
}

// Adopt makes a Conn of a bound socket that an earlier process opened. On
// success the descriptor is the Conn's; on an error it stays the caller's.
func Adopt(fd int, o Options) (*Conn, error) {
	c := &Conn{fd: fd}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && protocol != unix.IPPROTO_UDP {
		err = fmt.Errorf("file descriptor %d is a socket of another kind", fd)
	}
	if err == nil {
		err = c.name()
	}
	if err != nil {
		return nil, fmt.Errorf("adopt udp socket: %w", err)
	}
	unix.CloseOnExec(fd)
	c.setup(o)
	return c, nil
}

// setup sets options on and off: an adopted socket may have some already.
func (c *Conn) setup(o Options) {
	for _, buffer := range []struct{ force, polite int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
	} {
		if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, buffer.force, BufferSize) != nil {
			// The kernel cuts it to its limit; there is nothing to fail.
			_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, buffer.polite, BufferSize)
		}
	}
	c.features.ReceiveBuffer, _ = unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	_, err := unix.GetsockoptInt(c.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	c.features.Segment = err == nil && !o.NoSegment
	gro := 1
	if o.NoGRO {
		gro = 0
	}
	err = unix.SetsockoptInt(c.fd, unix.SOL_UDP, unix.UDP_GRO, gro)
	c.features.GRO = err == nil && !o.NoGRO
}

// SetFragments says what becomes of datagrams larger than the path's MTU: they are sent in
// fragments, and routers may make more, or they are refused with EMSGSIZE. A new socket has
// what net.ipv4.ip_no_pmtu_disc says.
func (c *Conn) SetFragments(may bool) {
	how := unix.IP_PMTUDISC_DO
	if may {
		how = unix.IP_PMTUDISC_DONT
	}
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, how) // no UDP socket refuses
}

func (c *Conn) name() error {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	v4, ok := sa.(*unix.SockaddrInet4)
	if !ok || v4.Port == 0 {
		return errors.New("it is not bound to an IPv4 address")
	}
	c.local = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port))
	return nil
}

// Send sends what is left of the batch. A message that the kernel refuses is
// ignored, see [SendBatch.Refused], and the rest is sent. The result is
// zero, or EAGAIN if there was no room for all; then the next call continues.
func (c *Conn) Send(b *SendBatch) unix.Errno { return b.send(c.fd) }

// Receive replaces the messages of the batch by those that have arrived, as
// many as there is room for. The result is zero, EAGAIN if there were none, or
// another error number of the socket; then the batch is empty.
func (c *Conn) Receive(b *ReceiveBatch) unix.Errno { return b.receive(c.fd) }

// LocalAddr returns the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Features returns what the kernel granted.
func (c *Conn) Features() Features { return c.features }

// FD returns the file descriptor, to poll it or hand it on. It stays the
// socket's.
func (c *Conn) FD() int { return c.fd }

// Close closes the socket. Nobody may use it any more.
func (c *Conn) Close() error { return unix.Close(c.fd) }
