package etcd

import (
	"net"
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
		c, err := d.Dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	opened := func() (n int) {
		for range d.open.Range {
			n++
		}
		return n
	}
	one, two := open(), open()
	d.Moved()
	if opened() != 2 {
		t.Errorf("%d of two connections from an address that the host has", opened())
	}
	if err := one.Close(); err != nil || opened() != 1 {
		t.Errorf("Close: %v; %d connections are remembered", err, opened())
	}
	d.Keep([]net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(32, 32)}})
	if _, err := two.Write([]byte("x")); err == nil || opened() != 0 {
		t.Errorf("%d connections are left from an address that is gone", opened())
	}
}
