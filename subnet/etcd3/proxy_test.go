package etcd3

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"flanneld/subnet/etcd"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

func TestEtcdBehindAProxy(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	var asked atomic.Int32
	var refuse atomic.Bool
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodConnect || refuse.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		_, _ = io.Copy(from, to)
		from.Close()
	}))
	t.Cleanup(p.Close)
	o := Options{Endpoints: []string{url}, Prefix: "/net", Access: etcd.Access{Proxy: p.URL}}
	s := newTestStore(t, o, defaults(0))
	l := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, l.Rev-1)
	w.Event(t, l.Key())
	if asked.Load() != 1 {
		t.Errorf("the proxy was asked %d times, want once", asked.Load())
	}
	refuse.Store(true)
	other := newTestStore(t, o, defaults(0))
	_, _, err := other.Leases(t.Context())
	wantFailure(t, "Leases", err, url, "by the proxy "+p.URL)
	wantFailure(t, "Leases", err, url, "403 Forbidden to CONNECT")
	wantFailure(t, "Leases", err, url, "lets this host reach etcd")
	other.Close()
	s.Close()
}
