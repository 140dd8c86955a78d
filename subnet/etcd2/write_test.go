package etcd2

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// lossy is a proxy before an etcd that loses the answers to writes, n of them:
// they are done, and their client does not learn it.
func lossy(t *testing.T, etcd string, n *atomic.Int32) string {
	t.Helper()
	proxy := passOn(t, etcd)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == http.MethodPut && n.Add(-1) >= 0 {
			return errors.New("lost")
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return serve(t, proxy.ServeHTTP).URL
}

func TestWritesWhoseAnswerIsLostAreSettled(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	var lose atomic.Int32
	// The client tries a renewal at the second one by itself.
	endpoints := []string{lossy(t, url, &lose), lossy(t, url, &lose)}
	times := hasty()
	times.call, times.header = 5*time.Second, 2*time.Second
	s := newTestStore(t, Options{Endpoints: endpoints, Prefix: "/net"}, times)
	l := lease(1)

	lose.Store(1)
	_, err := s.Create(t.Context(), l, time.Hour)
	if err == nil || errors.Is(err, subnet.ErrTaken) {
		t.Errorf("Create whose answer is lost: %v, want an error that leaves it open", err)
	}
	l, err = s.Create(t.Context(), l, time.Hour)
	if err != nil || l.Rev == 0 || time.Until(l.Expires) < 50*time.Minute {
		t.Fatalf("Create again = %+v, %v; want our own lease", l, err)
	}

	lose.Store(1)
	old := l
	l.V4.Data = `{"VNI":2}`
	l, err = s.Renew(t.Context(), old, l, 2*time.Hour)
	if err != nil || l.Rev <= old.Rev || time.Until(l.Expires) < 110*time.Minute || lose.Load() >= 0 {
		t.Fatalf("Renew whose answer is lost = %+v, %v", l, err)
	}
	if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 1 || got[0] != l {
		t.Errorf("Leases = %+v, %v; want %+v", got, err, l)
	}
	if _, err := s.Renew(t.Context(), old, old, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Renew of what was: %v, want ErrLost", err)
	}
	// Our value as it was before we wrote it, as after a restore, is no success.
	l.Rev += 1000
	if _, err := s.Renew(t.Context(), l, l, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Renew of what was restored: %v, want ErrLost", err)
	}
}

func TestARefusedWriteThatCannotBeReadBackIsAFailure(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		for name, refusal := range map[string]string{
			"Create": `{"errorCode":105,"message":"Key already exists","cause":"/net/subnets/10.5.1.0-24","index":6}`,
			"Renew":  `{"errorCode":101,"message":"Compare failed","cause":"[5 != 6]","index":6}`,
		} {
			f := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					reply(w, 6, 412, refusal)
				} else {
					w.WriteHeader(503)
				}
			})
			wantFailure(t, name, methods(f.store(t))[name](t.Context()), f.URL, "read it back")
		}
	})
}

func TestTTLsAreWholeSecondsAndNeverZero(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]time.Duration{
		0: 0, -time.Hour: 0, time.Millisecond: time.Second, 1600 * time.Millisecond: 2 * time.Second,
		subnet.DefaultTTL: subnet.DefaultTTL,
	} {
		if got := subnet.Seconds(ttl); got != want {
			t.Errorf("seconds(%v) = %v, want %v", ttl, got, want)
		}
	}
}
