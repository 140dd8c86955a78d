package etcd2

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

func TestStore(t *testing.T) {
	t.Parallel()
	testStore(t, etcdproc.Start(t))
}

func TestStoreOnFlannelEtcd(t *testing.T) {
	t.Parallel()
	testStore(t, etcdproc.FlannelEtcd(t).Start(t).URL)
}

// testStore gives each test a prefix of its own on one server.
func testStore(t *testing.T, url string) {
	t.Helper()
	n := 0
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		n++
		return harness(t, newTestStore(t, Options{
			Endpoints: []string{url}, Prefix: "/test" + strconv.Itoa(n) + "/network",
		}, defaults(0)))
	})
}

// newTestStore returns a store that leaves nothing behind. It logs nothing if
// the options do not say where.
func newTestStore(t *testing.T, o Options, times timing) *Store {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.dial == nil {
		o.dial = dialAny
	}
	s, err := newStore(o, times)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.api.transport.CloseIdleConnections)
	return s
}

// byHand is the client's transport of who is not the daemon.
type byHand struct{ *http.Transport }

func (byHand) CancelRequest(*http.Request) {}

// harness writes keys by hand, as an operator does.
func harness(t *testing.T, s *Store) storetest.Harness {
	t.Helper()
	const writers = 16
	tr := byHand{&http.Transport{MaxIdleConnsPerHost: writers, DialContext: dialAny}}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := client.New(client.Config{Endpoints: s.opts.Endpoints, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	keys := client.NewKeysAPI(c)
	check := func(_ *client.Response, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ctx := context.Background()
	return storetest.Harness{
		Store:        s,
		SetConfig:    func(d string) { check(keys.Set(ctx, s.configKey(), d, nil)) },
		DeleteConfig: func() { check(keys.Delete(ctx, s.configKey(), nil)) },
		PutRaw: func(k, v string, ttl time.Duration) {
			check(keys.Set(ctx, s.subnetsKey()+"/"+k, v, &client.SetOptions{TTL: ttl}))
		},
		DeleteRaw: func(k string) { check(keys.Delete(ctx, s.subnetsKey()+"/"+k, nil)) },
		DeleteDir: func() { check(keys.Delete(ctx, s.subnetsKey(), &client.DeleteOptions{Recursive: true, Dir: true})) },
		Churn: func(n int) {
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < n; i += writers {
						check(keys.Set(ctx, fmt.Sprintf("/elsewhere/%d", w), "x", nil))
					}
				})
			}
			wg.Wait()
		},
	}
}
