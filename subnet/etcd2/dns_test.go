package etcd2

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet/storetest"
)

// names is a resolver that knows one address, whatever the name, which can change.
type names struct {
	address atomic.Pointer[netip.Addr]
	asked   atomic.Int32
}

// resolver returns one that asks it, over a pipe.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go n.answer(theirs)
		return ours, nil
	}}
}

// resolving returns a dial function that has a resolver of its own.
func resolving(r *net.Resolver) func(context.Context, string, string) (net.Conn, error) {
	return (&net.Dialer{Resolver: r}).DialContext
}

// answer reads one query as over TCP (RFC 1035 4.2.2) and answers it.
func (n *names) answer(c net.Conn) {
	defer c.Close()
	var length [2]byte
	for {
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		n.asked.Add(1)
		end := 12
		for q[end] != 0 {
			end += int(q[end]) + 1
		}
		end += 5 // the zero, type and class
		typ := binary.BigEndian.Uint16(q[end-4:])
		a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
		if typ == 1 {
			a[7] = 1
			ip := n.address.Load().As4()
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4) // a pointer to the name, A, IN, a minute, four bytes
			a = append(a, ip[:]...)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// at serves on a loopback address and a port.
func at(t *testing.T, address string, answer http.HandlerFunc) (stop func(), port string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	s := &http.Server{Handler: answer}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return func() { s.Close() }, port
}

// An etcd that moves to another address keeps its name.
func TestANameThatMovesIsFollowed(t *testing.T) {
	t.Parallel()
	open := make(chan struct{}, 100)
	node := func(w http.ResponseWriter, r *http.Request) {
		if isWait(r) {
			open <- struct{}{}
			quiet(5)(w, r)
			return
		}
		reply(w, 5, 200, someNode)
	}
	var n names
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	n.address.Store(&one)
	stop, port := at(t, "127.0.0.1:0", node)
	moved := make(chan struct{}, 100)
	at(t, "127.0.0.2:"+port, func(w http.ResponseWriter, r *http.Request) {
		moved <- struct{}{}
		node(w, r)
	})
	endpoint := &url.URL{Scheme: "http", Host: "etcd.example.test:" + port}
	s := newTestStore(t, Options{Endpoints: []string{endpoint.String()}, Prefix: "/net", dial: resolving(n.resolver())}, hasty())
	if _, err := s.Config(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := storetest.Watch(t, s, 5)
	<-open
	n.address.Store(&two)
	stop()
	w.End(t, 5*time.Second)
	for name, call := range map[string]func() error{
		"Config": func() error { _, err := s.Config(t.Context()); return err },
		"Watch": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond+stall)
			defer cancel()
			go func() {
				for len(moved) == 0 && ctx.Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
			}()
			if _, err := watch(ctx, s, 5, 1); ctx.Err() == nil {
				return err
			}
			return nil
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s after the move: %v", name, err)
		}
		select {
		case <-moved:
		default:
			t.Errorf("%s does not go where the name is now", name)
		}
		for len(moved) > 0 {
			<-moved
		}
	}
}

func TestANameThatDoesNotExistIsAFailure(t *testing.T) {
	t.Parallel()
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "udp", Err: &net.DNSError{Err: "no resolver"}}
	}}
	s := newTestStore(t, Options{Endpoints: []string{"http://etcd.example.test:2379"}, Prefix: "/net", dial: resolving(r)}, hasty())
	_, err := s.Config(t.Context())
	wantFailure(t, "Config", err, "etcd.example.test", "check the names in --etcd-endpoints, or in the records of --etcd-srv, and the resolver")
}
