package etcd2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/logtest"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/storetest"
)

// hasty is the timing for servers that misbehave.
func hasty() timing {
	return timing{
		call: 800 * time.Millisecond, dial: 300 * time.Millisecond, header: 300 * time.Millisecond,
		poll: 400 * time.Millisecond, pause: 50 * time.Millisecond, soon: 200 * time.Millisecond, confirm: 300 * time.Millisecond,
	}
}

const stall = storetest.Stall

// fake is a server that answers what no etcd should. It counts.
type fake struct {
	*httptest.Server
	waits, others atomic.Int32 // requests
	conns         atomic.Int32 // connections that are open
}

// onFakeTime runs a test on fake time, for which servers must be fakes.
func onFakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// pipes is a listener whose connections are pipes, which work on fake time.
type pipes struct {
	address *net.TCPAddr
	conns   chan net.Conn
	closed  chan struct{}
	close   sync.Once
}

var (
	ports     atomic.Int32 // the last one that a pipes was given
	listening sync.Map     // *pipes by address
)

func listenPipes() *pipes {
	p := &pipes{
		address: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024 + int(ports.Add(1))},
		conns:   make(chan net.Conn), closed: make(chan struct{}),
	}
	listening.Store(p.address.String(), p)
	return p
}

func (p *pipes) Addr() net.Addr { return p.address }

func (p *pipes) Close() error {
	listening.Delete(p.address.String())
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// dialAny connects to a fake, or to who else is at the address.
func dialAny(ctx context.Context, network, address string) (net.Conn, error) {
	p, ok := listening.Load(address)
	if !ok {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	ours, theirs := net.Pipe()
	select {
	case p.(*pipes).conns <- theirs:
		return ours, nil
	case <-p.(*pipes).closed:
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve runs a fake until the test is over. Stores of tests find it, and nobody else.
func serve(t *testing.T, answer http.HandlerFunc) *fake {
	t.Helper()
	return serveOn(t, listenPipes(), answer)
}

func serveOn(t *testing.T, l net.Listener, answer http.HandlerFunc) *fake {
	t.Helper()
	f := new(fake)
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A server notices that its client is gone when it has read all of that.
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if isWait(r) {
			f.waits.Add(1)
		} else {
			f.others.Add(1)
		}
		answer(w, r)
	}))
	_ = f.Listener.Close()
	f.Listener = l
	f.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			f.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			f.conns.Add(-1)
		}
	}
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fake) store(t *testing.T) *Store {
	t.Helper()
	return newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net"}, hasty())
}

func isWait(r *http.Request) bool { return r.URL.Query().Get("wait") == "true" }

// reply answers as etcd does at an index.
func reply(w http.ResponseWriter, index int, status int, body string) {
	w.Header().Set("X-Etcd-Index", fmt.Sprint(index))
	w.Header().Set("X-Etcd-Cluster-Id", "c1")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

const (
	someNode = `{"action":"get","node":{"key":"/net/config","value":"{}","modifiedIndex":5,"createdIndex":5}}`
	cleared  = `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"x","index":9}`
)

func noKeyAt(index int) string {
	return fmt.Sprintf(`{"errorCode":100,"message":"Key not found","cause":"/net","index":%d}`, index)
}

// hang keeps a request without an answer until its client has had enough.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// quiet keeps a wait open at an index, as etcd does while nothing happens.
func quiet(index int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reply(w, index, http.StatusOK, "")
		w.(http.Flusher).Flush()
		hang(w, r)
	}
}

// lease returns the lease of 10.5.n.0/24.
func lease(n byte) subnet.Lease {
	return subnet.Lease{Type: "vxlan", V4: subnet.Claim{
		Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, n, 0}), 24),
		PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, n}),
		Data:     `{"VNI":1}`,
	}}
}

// methods are all of a store's, each with its error.
func methods(s *Store) map[string]func(context.Context) error {
	old := lease(1)
	old.Rev = 5
	return map[string]func(context.Context) error{
		"Config":      func(ctx context.Context) error { _, err := s.Config(ctx); return err },
		"AwaitConfig": func(ctx context.Context) error { _, err := s.AwaitConfig(ctx, 5); return err },
		"Leases":      func(ctx context.Context) error { _, _, err := s.Leases(ctx); return err },
		"Create":      func(ctx context.Context) error { _, err := s.Create(ctx, lease(1), time.Minute); return err },
		"Renew":       func(ctx context.Context) error { _, err := s.Renew(ctx, old, old, time.Minute); return err },
		"Delete":      func(ctx context.Context) error { return s.Delete(ctx, old) },
		"Watch":       func(ctx context.Context) error { _, err := watch(ctx, s, 5, 100); return err },
	}
}

// together calls methods at the same time.
func together(calls map[string]func(context.Context) error, f func(name string, call func(context.Context) error)) {
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() { f(name, call) })
	}
	wg.Wait()
}

// watch returns up to n events and the error that ended them. One that should
// have ended does.
func watch(ctx context.Context, s *Store, after subnet.Revision, n int) ([]subnet.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var got []subnet.Event
	for e, err := range s.Watch(ctx, after) {
		if err != nil {
			return got, err
		}
		if got = append(got, e); len(got) == n {
			break
		}
	}
	return got, nil
}

// wantFailure checks an error about the store itself: it is no sentinel, and it
// is one line that names the endpoint and has the text.
func wantFailure(t *testing.T, name string, err error, endpoint, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeds", name)
		return
	}
	for _, s := range []error{config.ErrNone, subnet.ErrTaken, subnet.ErrLost, subnet.ErrCompacted, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			t.Errorf("%s: %v is %v", name, err, s)
		}
	}
	host := strings.TrimPrefix(endpoint, "http://")
	if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, host) || !strings.Contains(s, text) {
		t.Errorf("%s: %q is not one line with %q and %q", name, s, host, text)
	}
}

// lines is a log.
type lines struct{ buf logtest.Buffer }

func (l *lines) logger() *slog.Logger { return l.buf.Logger() }

func (l *lines) count(text string) int { return strings.Count(l.buf.String(), text) }

// passOn returns what passes a request on to a real etcd.
func passOn(t *testing.T, etcd string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(etcd)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, Transport: tr}
}
