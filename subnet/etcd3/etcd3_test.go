package etcd3

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

func TestStore(t *testing.T) {
	t.Parallel()
	testStore(t, etcdproc.Start(t))
}

func TestStoreOnOtherReleases(t *testing.T) {
	t.Parallel()
	etcdproc.EachRelease(t, func(t *testing.T, program etcdproc.Program) {
		if program != etcdproc.Chosen() {
			testStore(t, program.Start(t).URL)
		}
	})
}

// testStore gives each test a prefix of its own on one server.
func testStore(t *testing.T, url string) {
	t.Helper()
	n := 0
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		n++
		return harness(t, newTestStore(t, Options{
			Endpoints: []string{url}, Prefix: "/test" + strconv.Itoa(n) + "/network",
		}, defaults(0)), url)
	})
}

// newTestStore returns a store that leaves nothing behind. It logs nothing if
// the options do not say where.
func newTestStore(t testing.TB, o Options, times timing) *Store {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := newStore(o, times)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// byHand returns the client of who is not the daemon.
func byHand(t testing.TB, url string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// harness writes keys by hand, as an operator does.
func harness(t testing.TB, s *Store, url string) storetest.Harness {
	t.Helper()
	const writers = 16
	c := byHand(t, url)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ctx := context.Background()
	return storetest.Harness{
		Store: s, Bound: true,
		SetConfig:    func(d string) { _, err := c.Put(ctx, s.configKey(), d); check(err) },
		DeleteConfig: func() { _, err := c.Delete(ctx, s.configKey()); check(err) },
		PutRaw: func(k, v string, ttl time.Duration) {
			var o []clientv3.OpOption
			if ttl > 0 {
				l, err := c.Grant(ctx, int64(ttl/time.Second))
				check(err)
				o = append(o, clientv3.WithLease(l.ID))
			}
			_, err := c.Put(ctx, s.subnetsKey()+k, v, o...)
			check(err)
		},
		DeleteRaw: func(k string) { _, err := c.Delete(ctx, s.subnetsKey()+k); check(err) },
		DeleteDir: func() { _, err := c.Delete(ctx, s.subnetsKey(), clientv3.WithPrefix()); check(err) },
		// etcd's v2 API remembers the last thousand writes, and this one what was not compacted.
		Churn: func(n int) {
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < n; i += writers {
						_, err := c.Put(ctx, fmt.Sprintf("/elsewhere/%d", w), "x")
						check(err)
					}
				})
			}
			wg.Wait()
			if n > 1000 {
				r, err := c.Get(ctx, "x")
				check(err)
				_, err = c.Compact(ctx, r.Header.Revision)
				check(err)
			}
		},
	}
}
