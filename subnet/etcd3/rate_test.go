package etcd3

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logtest"
	"flanneld/subnet"
)

// What a daemon does while etcd is away: it follows the leases and the
// configuration. Ten seconds are counted, of which the first have the most tries.
func TestAnEtcdThatIsAwayIsAskedAtABoundedRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		dial func() (net.Conn, error)
	}{
		{"nobody is there", func() (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}},
		{"it closes what is opened", func() (net.Conn, error) {
			ours, theirs := net.Pipe()
			theirs.Close()
			return ours, nil
		}},
		{"it answers nonsense", func() (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = theirs.Read(make([]byte, 1000))
				_, _ = theirs.Write([]byte("SSH-2.0-x\r\n"))
				theirs.Close()
			}()
			return ours, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var connects atomic.Int32
			log := new(logtest.Buffer)
			s := newTestStore(t, Options{Endpoints: []string{"http://192.0.2.1:2379"}, Prefix: "/net", Log: log.Logger(), dial: func(context.Context, string, string) (net.Conn, error) {
				connects.Add(1)
				return tt.dial()
			}}, defaults(0))
			const length = 10 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), length)
			defer cancel()
			var g sync.WaitGroup
			g.Go(func() { _ = subnet.Follow(ctx, s, subnet.NewView(), 5, log.Logger()) })
			g.Go(func() {
				var pause backoff.Backoff // as the daemon does
				for ctx.Err() == nil {
					if _, err := s.AwaitConfig(ctx, 5); err != nil && !errors.Is(err, context.DeadlineExceeded) {
						_ = pause.Wait(ctx)
					}
				}
			})
			g.Wait()
			if n := connects.Load(); n < 6 || n > 60 {
				t.Errorf("%d connections in %v, want 6 to 60", n, length)
			}
			if n := strings.Count(log.String(), "\n"); n > 4 {
				t.Errorf("%d lines in %v:\n%s", n, length, log)
			}
		})
	}
}
