package etcd

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Dialer opens connections, and closes those that a move of the host has made
// useless. Safe for concurrent use.
type Dialer struct {
	timeout time.Duration
	raw     func(ctx context.Context, network, address string) (net.Conn, error)
	open    sync.Map // of *connection

	mu    sync.Mutex
	tried []netip.Addr // the last ones first
}

// mostTried bounds the addresses that are remembered: a name may move for ever.
const mostTried = 16

// NewDialer returns a Dialer that gives up after the timeout. It opens connections by
// dial; nil: by the network's, which looks a name up for each, so that one that moves
// is followed.
func NewDialer(timeout time.Duration, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Dialer {
	d := &Dialer{timeout: timeout, raw: dial}
	if dial == nil {
		keep := net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}
		d.raw = (&net.Dialer{KeepAliveConfig: keep, ControlContext: d.note}).DialContext
	}
	return d
}

// note remembers an address that a connection is about to be made to.
func (d *Dialer) note(_ context.Context, _, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		at := to.Addr().Unmap().WithZone("")
		rest := slices.DeleteFunc(d.tried, func(a netip.Addr) bool { return a == at })
		d.tried = append([]netip.Addr{at}, rest[:min(len(rest), mostTried-1)]...)
	}
	return nil
}

// Tried returns the addresses that connections were made to lately, or tried in vain.
func (d *Dialer) Tried() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.tried)
}

type connection struct {
	net.Conn
	dialer *Dialer
}

// Dial opens a connection. It is closed when a move of the host has made it useless.
func (d *Dialer) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	raw, err := d.raw(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &connection{raw, d}
	d.open.Store(c, nil)
	return c, nil
}

func (c *connection) Close() error {
	c.dialer.open.Delete(c)
	return c.Conn.Close()
}

// Moved is called when the host has lost an address. It closes the connections from
// such an address: what they send arrives, and no answer does. The kernel is slower:
// with a TCP_USER_TIMEOUT of 1 s it ends a call after 1.2 s, and a quiet watch, which only
// keep-alive packets find out about, after 15 s.
func (d *Dialer) Moved() {
	all, _ := net.InterfaceAddrs() // if they cannot be read, all connections are made anew
	d.Keep(all)
}

// Keep closes the connections whose own end is none of the addresses, which are
// interfaces'.
func (d *Dialer) Keep(addresses []net.Addr) {
	for c := range d.open.Range {
		c := c.(*connection)
		local, ok := c.LocalAddr().(*net.TCPAddr)
		if ok && !slices.ContainsFunc(addresses, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && n.IP.Equal(local.IP)
		}) {
			_ = c.Close() // whoever uses it gets the error
		}
	}
}
