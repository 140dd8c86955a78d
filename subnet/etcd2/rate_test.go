package etcd2

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

// reset is the end of a connection that the other end resets.
type reset struct{ net.Conn }

func (c reset) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}

// What a daemon does while etcd is away: it follows the leases and the
// configuration. Ten seconds are counted, of which the first have the most tries.
func TestAnEtcdThatIsAwayIsAskedAtABoundedRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(net.Conn) // and then closes it
		ours func(net.Conn) net.Conn
	}{
		{name: "it closes what is opened"},
		{name: "it answers nonsense", do: func(c net.Conn) { c.Write([]byte("SSH-2.0-x\r\n")) }},
		{name: "it resets what is opened", ours: func(c net.Conn) net.Conn { return reset{c} }},
		{name: "it has no leader", do: func(c net.Conn) {
			c.Read(make([]byte, 1000))
			c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		}},
		{name: "its history is always gone", do: func(c net.Conn) {
			c.Read(make([]byte, 1000))
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\nX-Etcd-Index: 9\r\nConnection: close\r\n\r\n" + cleared))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var connects atomic.Int32
				var g sync.WaitGroup
				defer g.Wait()
				dial := func(context.Context, string, string) (net.Conn, error) {
					connects.Add(1)
					ours, theirs := net.Pipe()
					go func() {
						if tt.do != nil {
							tt.do(theirs)
						}
						theirs.Close()
					}()
					if tt.ours != nil {
						ours = tt.ours(ours)
					}
					return ours, nil
				}
				log := new(lines)
				s := newTestStore(t, Options{Endpoints: []string{"http://192.0.2.1:2379"}, Prefix: "/net", Log: log.logger(), dial: dial}, defaults(0))
				const length = 10 * time.Second
				ctx, cancel := context.WithTimeout(t.Context(), length)
				defer cancel()
				g.Go(func() { subnet.Follow(ctx, s, subnet.NewView(), 5, log.logger()) })
				g.Go(func() {
					var pause backoff.Backoff // as the daemon does
					for ctx.Err() == nil {
						if _, err := s.AwaitConfig(ctx, 5); err != nil && !errors.Is(err, context.DeadlineExceeded) {
							_ = pause.Wait(ctx)
						}
					}
				})
				<-ctx.Done()
				// Pauses of 0.1, 0.2, ... 1.5 s and of up to 5 s; each try has a request or
				// two, which net/http tries once again if a connection was closed.
				if n := connects.Load(); n < 6 || n > 50 {
					t.Errorf("%d connections in %v, want 6 to 50", n, length)
				}
				if n := log.count("\n"); n > 4 {
					t.Errorf("%d lines in %v:\n%s", n, length, &log.buf)
				}
				t.Logf("%d connections, %d lines in %v", connects.Load(), log.count("\n"), length)
			})
		})
	}
}
