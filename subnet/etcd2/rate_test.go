package etcd2

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

// What a daemon does while etcd is away: it follows the leases and the
// configuration. Ten seconds are counted, of which the first have the most tries.
func TestAnEtcdThatIsAwayIsAskedAtABoundedRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(net.Conn)
	}{
		{"it closes what is opened", func(c net.Conn) { c.Close() }},
		{"it answers nonsense", func(c net.Conn) {
			c.Write([]byte("SSH-2.0-x\r\n"))
			c.Close()
		}},
		{"it resets what is opened", func(c net.Conn) {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}},
		{"it has no leader", func(c net.Conn) {
			c.Read(make([]byte, 1000))
			c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			c.Close()
		}},
		{"its history is always gone", func(c net.Conn) {
			c.Read(make([]byte, 1000))
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\nX-Etcd-Index: 9\r\nConnection: close\r\n\r\n" + cleared))
			c.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var connects atomic.Int32
			var g sync.WaitGroup
			defer g.Wait()
			defer l.Close()
			g.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					connects.Add(1)
					tt.do(c)
				}
			})
			log := new(lines)
			s := newTestStore(t, Options{Endpoints: []string{"http://" + l.Addr().String()}, Prefix: "/net", Log: log.logger()}, defaults(0))
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
	}
}
