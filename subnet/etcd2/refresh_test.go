package etcd2

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
	"flanneld/subnet/wire"
)

// elder is an etcd as 2.2.5 is: its versions, and a refresh that is a write of an
// empty value. Behind it is a real one.
type elder struct {
	version http.HandlerFunc // nil: that of the real one

	mu   sync.Mutex
	puts []string // the bodies
}

func (e *elder) serve(t *testing.T, etcd string) string {
	t.Helper()
	proxy := passOn(t, etcd)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" && e.version != nil {
			e.version(w, r)
			return
		}
		if r.Method == http.MethodPut {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			body := r.PostForm
			e.mu.Lock()
			e.puts = append(e.puts, body.Encode())
			e.mu.Unlock()
			body.Del("refresh")
			r.Body = http.NoBody
			q := r.URL.Query()
			for k := range body {
				q.Set(k, body.Get(k))
			}
			r.URL.RawQuery = q.Encode()
			r.ContentLength = 0
		}
		proxy.ServeHTTP(w, r)
	}).URL
}

func (e *elder) sent(text string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.puts {
		if strings.Contains(p, text) {
			n++
		}
	}
	return n
}

func versions(server, cluster string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"etcdserver":%q,"etcdcluster":%q}`, server, cluster)
	}
}

func TestWhoMayNotKnowARefreshIsNeverSentOne(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	for i, tt := range []struct {
		name    string
		version http.HandlerFunc
		quiet   bool
	}{
		{"etcd 2.2.5", versions("2.2.5", "2.2.0"), false},
		{"etcd 2.1", versions("2.1.3", "2.1.0"), false},
		{"a cluster with one member of 2.2", versions("2.3.8", "2.2.0"), false},
		{"a cluster that has not decided", versions("3.4.23", "not_decided"), false},
		{"a cluster that does not say", versions("3.4.23", ""), false},
		{"etcd 2.0", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "etcd 2.0.13") }, false},
		{"no version", http.NotFound, false},
		{"a proxy's page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, false},
		{"a proxy's error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, false},
		{"nothing, and late", hang, false},
		{"an empty object", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, false},
		{"numbers", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"etcdcluster":3}`) }, false},
		{"a word", versions("x", "x.y.z"), false},
		{"etcd 2.3", versions("2.3.8", "2.3.0"), true},
		{"etcd 3.5", versions("3.5.35", "3.5.0"), true},
		{"etcd 10.0", versions("10.0.0", "10.0.0"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := &elder{version: tt.version}
			times := hasty()
			times.call, times.header = 4*time.Second, 2*time.Second
			s := newTestStore(t, Options{Endpoints: []string{e.serve(t, url)}, Prefix: fmt.Sprint("/net", i)}, times)
			l, err := s.Create(t.Context(), lease(1), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if tt.quiet {
				if !s.writer.refreshes(t.Context()) {
					t.Error("it is not refreshed")
				}
				return
			}
			got, quiet, err := s.Refresh(t.Context(), l, time.Hour)
			if err != nil || quiet || time.Until(got.Expires) < 50*time.Minute || got.Rev <= l.Rev {
				t.Errorf("Refresh = %+v, %t, %v; want it renewed by a write", got, quiet, err)
			}
			if n := e.sent("refresh="); n != 0 {
				t.Errorf("%d refreshes are sent", n)
			}
			if have, _, err := s.Leases(t.Context()); err != nil || len(have) != 1 || have[0] != got {
				t.Errorf("Leases = %+v, %v; want %+v", have, err, got)
			}
		})
	}
}

// The cluster's version was 3, and the write was taken by something older.
func TestAValueThatARefreshEmptiedIsWrittenBack(t *testing.T) {
	t.Parallel()
	e := &elder{}
	log := new(lines)
	s := newTestStore(t, Options{Endpoints: []string{e.serve(t, etcdproc.Start(t))}, Prefix: "/net", Log: log.logger()}, defaults(0))
	l := mustCreate(t, s, 1)
	for i := range 3 {
		got, quiet, err := s.Refresh(t.Context(), l, 2*time.Hour)
		if err != nil || quiet || time.Until(got.Expires) < 110*time.Minute {
			t.Fatalf("Refresh %d = %+v, %t, %v", i, got, quiet, err)
		}
		if have, _, err := s.Leases(t.Context()); err != nil || len(have) != 1 || have[0] != got {
			t.Fatalf("Leases = %+v, %v; want %+v", have, err, got)
		}
		l = got
	}
	if n := e.sent("refresh=true"); n != 1 {
		t.Errorf("%d refreshes are sent, want none after the first", n)
	}
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("%d errors are logged, want one:\n%s", n, &log.buf)
	}
}

// As if the answer to the refresh was lost, or the daemon killed.
func TestAnEmptiedValueIsWrittenBackWithTheNextRefreshAtTheLatest(t *testing.T) {
	t.Parallel()
	s := newTestStore(t, Options{Endpoints: []string{etcdproc.Start(t)}, Prefix: "/net"}, defaults(0))
	l := mustCreate(t, s, 1)
	harness(t, s).PutRaw(wire.Key(l.Key()), "", time.Hour)
	got, quiet, err := s.Refresh(t.Context(), l, 2*time.Hour)
	if err != nil || quiet || time.Until(got.Expires) < 110*time.Minute {
		t.Errorf("Refresh = %+v, %t, %v", got, quiet, err)
	}
	if have, _, err := s.Leases(t.Context()); err != nil || len(have) != 1 || have[0] != got {
		t.Errorf("Leases = %+v, %v; want %+v", have, err, got)
	}
}

func TestARefreshLeavesAReservationOne(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	for i, version := range []http.HandlerFunc{nil, versions("2.2.5", "2.2.0")} {
		e := &elder{version: version}
		endpoint := url
		if version != nil {
			endpoint = e.serve(t, url)
		}
		s := newTestStore(t, Options{Endpoints: []string{endpoint}, Prefix: fmt.Sprint("/net", i)}, defaults(0))
		l := mustCreate(t, s, 1)
		harness(t, s).PutRaw(wire.Key(l.Key()), encoded(t, l), 0) // by an operator, a moment before
		got, quiet, err := s.Refresh(t.Context(), l, time.Hour)
		if err != nil || quiet || !got.Reserved() {
			t.Errorf("Refresh = %+v, %t, %v; want a reservation", got, quiet, err)
		}
		if have, _, err := s.Leases(t.Context()); err != nil || len(have) != 1 || have[0] != got {
			t.Errorf("Leases = %+v, %v; want %+v", have, err, got)
		}
	}
}

func encoded(t *testing.T, l subnet.Lease) string {
	t.Helper()
	v, err := wire.Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
