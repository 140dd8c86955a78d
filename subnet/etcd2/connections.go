package etcd2

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// connections are all that are open, of calls and of watches. Safe for concurrent
// use.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
}

type connection struct {
	net.Conn
	of *connections
}

// over returns a dial function that remembers what it has opened.
func (c *connections) over(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := &connection{raw, c}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[conn] = struct{}{}
		return conn, nil
	}
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// leave closes the connections whose own end is none of the addresses.
func (c *connections) leave(addresses []netip.Addr) {
	c.mu.Lock()
	var stale []*connection
	for conn := range c.open {
		local, ok := conn.LocalAddr().(*net.TCPAddr)
		if ok && !slices.Contains(addresses, local.AddrPort().Addr().Unmap().WithZone("")) {
			stale = append(stale, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range stale {
		_ = conn.Close() // whoever uses it has the error
	}
}

// Moved is called when the host has lost an address. What is sent from it arrives,
// and no answer does: without this each call, and each watch, would have to find
// that out by its deadline.
func (s *Store) Moved() {
	// If the addresses cannot be read, all connections are made anew.
	all, _ := net.InterfaceAddrs()
	var now []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			now = append(now, p.Addr().Unmap())
		}
	}
	s.opts.connections.leave(now)
}
