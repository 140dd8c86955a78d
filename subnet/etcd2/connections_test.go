package etcd2

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestConnectionsFromAnAddressThatIsGoneAreClosed(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	var silent atomic.Bool // since the address has gone, for all that is open by then
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := serveOn(t, l, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isWait(r):
			asked <- struct{}{}
			quiet(9)(w, r)
		case silent.Load():
			asked <- struct{}{}
			hang(w, r)
		default:
			reply(w, 9, http.StatusOK, someNode)
		}
	})
	times := defaults(0)
	s := newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net"}, times)
	if _, err := s.Config(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := watch(ctx, s, 9, 1)
		ended <- err
	}()
	<-asked
	silent.Store(true)
	call := make(chan error, 1)
	go func() {
		_, err := s.Config(t.Context())
		call <- err
	}()
	<-asked

	s.Moved()
	select {
	case err := <-call:
		t.Fatalf("a call from an address that is there has ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	silent.Store(false) // for the address that the host has now
	s.dialer.Keep([]net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(32, 32)}})
	start := time.Now()
	<-call // what can be asked twice is asked again
	select {
	case <-asked: // so is the watch
	case err := <-ended:
		t.Fatalf("the watch ends: %v", err)
	case <-time.After(times.header):
	}
	if d := time.Since(start); d >= times.header {
		t.Errorf("they go on after %v", d)
	}
	if _, err := s.Config(t.Context()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	stop()
	<-ended
	s.api.transport.CloseIdleConnections()
	noConns(t, f)
}
