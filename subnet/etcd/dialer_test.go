package etcd

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestConnectionsThatAreClosedAreForgotten(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := NewDialer(time.Second, nil)
	open := func() net.Conn {
		c, err := d.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := open(), open()
	d.Moved()
	if len(d.open) != 2 {
		t.Errorf("%d of two connections from an address that the host has", len(d.open))
	}
	if err := one.Close(); err != nil || len(d.open) != 1 {
		t.Errorf("Close: %v; %d connections are remembered", err, len(d.open))
	}
	d.Keep([]netip.Addr{netip.MustParseAddr("192.0.2.1")})
	if _, err := two.Write([]byte("x")); err == nil || len(d.open) != 0 {
		t.Errorf("%d connections are left from an address that is gone", len(d.open))
	}
}
