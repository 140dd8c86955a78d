package status

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/backend"
	"flanneld/subnet"
)

func get(t *testing.T, s *Server, path string) (code int, body, header string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.handler(nil).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String(), w.Header().Get("Flannel-Lease")
}

func serveOne(s *Server, r *http.Request) int {
	w := httptest.NewRecorder()
	s.handler(nil).ServeHTTP(w, r)
	return w.Code
}

func newServer(t *testing.T) (*Server, *Board) {
	t.Helper()
	b := NewBoard(func(string) {})
	s, err := Listen("", 0, true, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestCountersAreServed(t *testing.T) {
	s, b := newServer(t)
	if code, body, _ := get(t, s, "/counters"); code != 200 || body != "" {
		t.Errorf("without a backend: %d %q", code, body)
	}
	b.SetCounters(func() []backend.Counter { return []backend.Counter{{Name: "udp_a", Value: 1}, {Name: "udp_b"}} })
	if code, body, _ := get(t, s, "/counters"); code != 200 || body != "udp_a 1\nudp_b 0\n" {
		t.Errorf("counters are served as %d %q", code, body)
	}
}

// However often counters are asked for, the kernel is asked once a second.
func TestCountersAreReadOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newServer(t)
		var reads uint64
		b.SetCounters(func() []backend.Counter { reads++; return []backend.Counter{{Name: "a", Value: reads}} })
		for i, want := range []string{"a 1\n", "a 1\n", "a 1\n", "a 2\n"} {
			if _, body, _ := get(t, s, "/counters"); body != want {
				t.Errorf("request %d is answered %q, want %q", i, body, want)
			}
			time.Sleep(400 * time.Millisecond)
		}
	})
}

func TestAnswersFollowTheBoard(t *testing.T) {
	s, b := newServer(t)
	six := one
	six.V6.Subnet = netip.MustParsePrefix("fd00:1::/64")
	for _, row := range []struct {
		name   string
		do     func()
		ready  int
		header string
		why    string
	}{
		{"before a lease is asked for", func() { b.SetUnusable("none") }, 503, "", "lease: none is asked for yet\ndatapath: waiting\nfirewall: waiting\nsubnetFile: waiting"},
		{"acquiring", func() { b.SetLease(standing(subnet.Acquiring, subnet.Lease{}, "")) }, 503, "acquiring", "lease: acquiring\ndatapath: waiting\nfirewall: waiting\nsubnetFile: waiting"},
		{"held, without a pass", func() { b.SetLease(standing(subnet.Held, one, "")) }, 503, "held; subnet=10.1.1.0/24", "datapath: waiting\nfirewall: waiting\nsubnetFile: waiting"},
		{"ready", func() { b.Complete(one.Key(), 1) }, 200, "held; subnet=10.1.1.0/24", ""},
		{"a lost lease", func() { b.SetLease(standing(subnet.Conflict, one, "it is “gone”\n")) }, 503,
			`conflict; subnet=10.1.1.0/24; reason="it is \u201cgone\u201d\n"`, "lease: conflict: it is “gone”\n"},
		{"two families", func() { b.SetLease(standing(subnet.Held, six, "")); b.Complete(six.Key(), 1) }, 200,
			"held; subnet=10.1.1.0/24,fd00:1::/64", ""},
	} {
		row.do()
		want := "flanneld is ready"
		if row.ready != 200 {
			want = "flanneld is not ready yet\n" + row.why + "\n"
		}
		if code, body, header := get(t, s, "/readyz"); code != row.ready || body != want || header != row.header {
			t.Errorf("%s: /readyz answers %d %q with %q", row.name, code, body, header)
		}
		if code, body, header := get(t, s, "/healthz"); code != 200 || body != "flanneld is running" || header != row.header {
			t.Errorf("%s: /healthz answers %d %q with %q", row.name, code, body, header)
		}
	}
}

// pipes is a listener whose connections are pipes, which work in fake time.
type pipes struct {
	come   chan net.Conn
	closed chan struct{}
	open   atomic.Int32 // accepted, and not closed
}

type piped struct {
	net.Conn
	open *atomic.Int32
}

func (p piped) Close() error { p.open.Add(-1); return p.Conn.Close() }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		p.open.Add(1)
		return piped{c, &p.open}, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's end, once the server will have the other.
func (p *pipes) dial() net.Conn {
	c, s := net.Pipe()
	go func() {
		select {
		case p.come <- s:
		case <-p.closed:
			s.Close()
		}
	}()
	return c
}

// Whatever clients do with their connections, others are answered soon, and descriptors
// are left to the daemon.
func TestClientsThatWasteConnections(t *testing.T) {
	for name, waste := range map[string]func(net.Conn){
		"send nothing":             func(net.Conn) {},
		"send half a request":      func(c net.Conn) { fmt.Fprint(c, "GET /readyz HTTP/1.1\r\nHo") },
		"send half a body":         func(c net.Conn) { fmt.Fprint(c, "POST /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1") },
		"take no answer":           func(c net.Conn) { fmt.Fprint(c, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") },
		"keep the connection open": func(c net.Conn) { fmt.Fprint(c, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"); io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newServer(t)
				l := &pipes{come: make(chan net.Conn), closed: make(chan struct{})}
				s.listener = l
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); s.Run(ctx) }()
				for range maxConnections {
					c := l.dial()
					defer c.Close()
					go waste(c)
				}
				synctest.Wait()
				good := l.dial()
				defer good.Close()
				synctest.Wait()
				if n := l.open.Load(); n != maxConnections {
					t.Errorf("%d connections are open, want %d", n, maxConnections)
				}
				start := time.Now()
				go fmt.Fprint(good, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
				answer, err := http.ReadResponse(bufio.NewReader(good), nil)
				if err != nil || answer.StatusCode != http.StatusOK || time.Since(start) > 3*requestTime {
					t.Errorf("another client is answered %v, %v after %v", answer, err, time.Since(start))
				}
				time.Sleep(3 * requestTime)
				if n := l.open.Load(); n != 0 {
					t.Errorf("%d connections stay open", n)
				}
				cancel()
				<-ended
			})
		})
	}
}

func TestAliveAsTheLoopsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t)
		if code, body, _ := get(t, s, "/livez"); code != 200 || body != "flanneld is alive" {
			t.Errorf("without loops: %d %q", code, body)
		}
		var hangs atomic.Bool
		var asked atomic.Int32
		s.SetAlive([]func(context.Context) error{func(ctx context.Context) error {
			asked.Add(1)
			if hangs.Load() {
				<-ctx.Done()
				return errors.New("the loop that digs does not answer")
			}
			return nil
		}})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if code, _, _ := get(t, s, "/livez"); code != 200 {
					t.Errorf("a loop that ticks: %d", code)
				}
			})
		}
		all.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("100 clients asked the loop %d times", n)
		}
		hangs.Store(true)
		time.Sleep(aliveFor)
		if code, body, _ := get(t, s, "/livez"); code != 503 || body != "flanneld hangs: the loop that digs does not answer\n" {
			t.Errorf("a loop that hangs: %d %q", code, body)
		}
		hangs.Store(false)
		time.Sleep(aliveFor)
		if code, _, _ := get(t, s, "/livez"); code != 200 {
			t.Errorf("a loop that goes on: %d", code)
		}
	})
}

func TestReadinessInFull(t *testing.T) {
	s, b := newServer(t)
	start(b)
	if code, body, _ := get(t, s, "/readyz?verbose"); code != 200 || body != "[+]lease held\n[+]datapath ok\n[+]firewall ok\n[+]subnetFile ok\nflanneld is ready" {
		t.Errorf("ready: %d %q", code, body)
	}
	b.SetFirewall(errors.New("iptables: exit status 4"), 0, 0)
	if code, body, _ := get(t, s, "/readyz?verbose"); code != 503 ||
		body != "[+]lease held\n[+]datapath ok\n[-]firewall failing: iptables: exit status 4\n[+]subnetFile ok\nflanneld is not ready yet\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	b.SetFirewall(nil, 1, 0)
	if code, _, _ := get(t, s, "/readyz"); code != 200 {
		t.Errorf("and back: %d", code)
	}
}
