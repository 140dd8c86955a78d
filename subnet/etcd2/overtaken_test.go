package etcd2

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// late is a proxy before an etcd that keeps the next write for later and does not
// answer it, as a member does that hangs.
type late struct {
	next atomic.Bool
	kept chan func() // carries it out
}

func (l *late) serve(t *testing.T, etcd string) string {
	t.Helper()
	proxy := passOn(t, etcd)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !l.next.CompareAndSwap(true, false) {
			proxy.ServeHTTP(w, r)
			return
		}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		form := r.PostForm
		u, err := url.Parse(etcd)
		if err != nil {
			t.Error(err)
			return
		}
		u.Path, u.RawQuery = r.URL.Path, r.URL.RawQuery
		l.kept <- func() {
			q := u.Query()
			for k := range form {
				q.Set(k, form.Get(k))
			}
			u.RawQuery = q.Encode()
			again, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := proxy.Transport.RoundTrip(again)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		panic(http.ErrAbortHandler)
	}).URL
}

// What is carried out late brings the expiry of its own time with it: seen in a
// cluster with a member that hung, where keys expired before their holders'
// deadline.
func TestALateRefreshDoesNotShortenALease(t *testing.T) {
	t.Parallel()
	proxy := &late{kept: make(chan func(), 1)}
	s := newTestStore(t, Options{Endpoints: []string{proxy.serve(t, etcdproc.Start(t))}, Prefix: "/net"}, brisk())
	l := mustCreate(t, s, 1)
	proxy.next.Store(true)
	if _, _, err := s.Refresh(t.Context(), l, time.Minute); err == nil {
		t.Fatal("Refresh whose answer is lost: no error")
	}
	l, quiet, err := s.Refresh(t.Context(), l, time.Hour)
	if err != nil || !quiet {
		t.Fatalf("Refresh = %v, %v", quiet, err)
	}
	(<-proxy.kept)()
	wantLife(t, s, l, 50*time.Minute)

	// And the other way round: it is carried out first, so the lease has another
	// index than its holder thinks.
	proxy.next.Store(true)
	if _, _, err := s.Refresh(t.Context(), l, time.Minute); err == nil {
		t.Fatal("Refresh whose answer is lost: no error")
	}
	(<-proxy.kept)()
	if _, quiet, err = s.Refresh(t.Context(), l, time.Hour); err != nil || !quiet {
		t.Fatalf("Refresh = %v, %v", quiet, err)
	}
	wantLife(t, s, l, 50*time.Minute)
}

func TestAWriteThatWasDoneEarlierGetsAllOfItsLife(t *testing.T) {
	t.Parallel()
	proxy := &late{kept: make(chan func(), 1)}
	s := newTestStore(t, Options{Endpoints: []string{proxy.serve(t, etcdproc.Start(t))}, Prefix: "/net"}, brisk())
	proxy.next.Store(true)
	if _, err := s.Create(t.Context(), lease(1), time.Minute); err == nil {
		t.Fatal("Create whose answer is lost: no error")
	}
	(<-proxy.kept)()
	l, err := s.Create(t.Context(), lease(1), time.Hour)
	if err != nil || time.Until(l.Expires) < 50*time.Minute {
		t.Fatalf("Create again = %+v, %v; want a life of an hour", l, err)
	}
	wantLife(t, s, l, 50*time.Minute)
	proxy.next.Store(true)
	changed := l
	changed.V4.Data = `{"VNI":2}`
	if _, err := s.Renew(t.Context(), l, changed, time.Minute); err == nil {
		t.Fatal("Renew whose answer is lost: no error")
	}
	(<-proxy.kept)()
	if l, err = s.Renew(t.Context(), l, changed, time.Hour); err != nil {
		t.Fatalf("Renew again: %v", err)
	}
	wantLife(t, s, l, 50*time.Minute)
}

// wantLife fails the test if the store does not give the lease at least so long.
func wantLife(t *testing.T, s *Store, want subnet.Lease, least time.Duration) {
	t.Helper()
	got, _, err := s.Leases(t.Context())
	if err != nil || len(got) != 1 || !got[0].SameClaim(want) || time.Until(got[0].Expires) < least {
		t.Errorf("Leases = %+v, %v; want %v for %v", got, err, want.Key(), least)
	}
}
