package etcd

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Dialer opens connections, and closes those that a move of the host has made
// useless. Safe for concurrent use.
type Dialer struct {
	timeout time.Duration
	raw     func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	open map[*connection]struct{}
}

// NewDialer returns a Dialer that gives up after the timeout. It opens connections by
// dial; nil: by the network's, which looks a name up for each, so that one that moves
// is followed.
func NewDialer(timeout time.Duration, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Dialer {
	if dial == nil {
		keep := net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}
		dial = (&net.Dialer{KeepAliveConfig: keep}).DialContext
	}
	return &Dialer{timeout: timeout, raw: dial, open: make(map[*connection]struct{})}
}

type connection struct {
	net.Conn
	dialer *Dialer
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	raw, err := d.raw(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &connection{raw, d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[conn] = struct{}{}
	return conn, nil
}

func (c *connection) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// Moved is called when the host has lost an address. It closes the connections from
// such an address: what they send arrives, and no answer does. The kernel is slower:
// with a TCP_USER_TIMEOUT of 1 s it ends a call after 1.2 s, and a quiet watch, which only
// keep-alive packets find out about, after 15 s.
func (d *Dialer) Moved() {
	// If the addresses cannot be read, all connections are made anew.
	all, _ := net.InterfaceAddrs()
	var now []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			now = append(now, p.Addr().Unmap())
		}
	}
	d.Keep(now)
}

// Keep closes the connections whose own end is none of the addresses.
func (d *Dialer) Keep(addresses []netip.Addr) {
	d.mu.Lock()
	var stale []*connection
	for c := range d.open {
		local, ok := c.LocalAddr().(*net.TCPAddr)
		if ok && !slices.Contains(addresses, local.AddrPort().Addr().Unmap().WithZone("")) {
			stale = append(stale, c)
		}
	}
	d.mu.Unlock()
	for _, c := range stale {
		_ = c.Close() // whoever uses it gets the error
	}
}
