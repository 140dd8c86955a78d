package etcd2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// slow is a proxy before an etcd that delays writes, n of them: on their way
// there, or their answers. They are done although their client has gone.
type slow struct {
	request, answer time.Duration
	n               atomic.Int32
	done            chan struct{} // gets one for each that was delayed and is done
}

func (p *slow) serve(t *testing.T, etcd string) string {
	t.Helper()
	p.done = make(chan struct{}, 100)
	proxy := passOn(t, etcd)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		write := r.Method == http.MethodPut || r.Method == http.MethodDelete
		if !write || p.n.Add(-1) < 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		gone, _ := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, etcd+r.URL.RequestURI(), bytes.NewReader(body))
		gone.Header = r.Header
		time.Sleep(p.request)
		resp, err := proxy.Transport.RoundTrip(gone)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		p.done <- struct{}{}
		time.Sleep(p.answer)
		w.WriteHeader(resp.StatusCode)
		w.Write(answer)
	}).URL
}

func unknown(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, subnet.ErrTaken) || errors.Is(err, subnet.ErrLost) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want an error that leaves it open", what, err)
	}
}

// One endpoint: what is done is not known, and is found out by who asks again.
func TestWritesThatAreLateAreLeftOpen(t *testing.T) {
	t.Parallel()
	etcd := etcdproc.Start(t)
	for _, tt := range []struct {
		name string
		slow *slow
	}{
		{"the answer is late", &slow{answer: time.Second}},
		{"the request is late", &slow{request: time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := tt.slow
			times := hasty()
			times.call, times.header = 3*time.Second, 400*time.Millisecond
			s := newTestStore(t, Options{Endpoints: []string{p.serve(t, etcd)}, Prefix: "/" + tt.name}, times)

			p.n.Store(1)
			_, err := s.Create(t.Context(), lease(1), time.Hour)
			unknown(t, "Create", err)
			<-p.done
			l, err := s.Create(t.Context(), lease(1), time.Hour)
			if err != nil || l.Rev == 0 {
				t.Fatalf("Create again = %+v, %v; want what was done late", l, err)
			}
			stranger := lease(1)
			stranger.V4.PublicIP = lease(2).V4.PublicIP
			if _, err := s.Create(t.Context(), stranger, time.Hour); !errors.Is(err, subnet.ErrTaken) {
				t.Errorf("Create of another: %v, want ErrTaken", err)
			}

			p.n.Store(1)
			old := l
			l.V4.Data = `{"VNI":2}`
			_, err = s.Renew(t.Context(), old, l, 2*time.Hour)
			unknown(t, "Renew", err)
			<-p.done
			if l, err = s.Renew(t.Context(), old, l, 2*time.Hour); err != nil || l.Rev <= old.Rev {
				t.Fatalf("Renew again = %+v, %v; want what was done late", l, err)
			}

			p.n.Store(1)
			_, _, err = s.Refresh(t.Context(), l, 3*time.Hour)
			unknown(t, "Refresh", err)
			<-p.done
			l, quiet, err := s.Refresh(t.Context(), l, 3*time.Hour)
			if err != nil || !quiet || time.Until(l.Expires) < 170*time.Minute {
				t.Fatalf("Refresh again = %+v, %t, %v", l, quiet, err)
			}

			p.n.Store(1)
			unknown(t, "Delete", s.Delete(t.Context(), l))
			<-p.done
			if err := s.Delete(t.Context(), l); err != nil {
				t.Errorf("Delete again: %v", err)
			}
			if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 0 {
				t.Errorf("Leases = %v, %v; want none", got, err)
			}
		})
	}
}

// Several endpoints: the client tries a conditional write again by itself, and is
// refused what it has done.
func TestSecondTriesOfTheClientAreSettled(t *testing.T) {
	t.Parallel()
	etcd := etcdproc.Start(t)
	p := &slow{answer: time.Second}
	q := &slow{answer: time.Second}
	times := hasty()
	times.call, times.header = 5*time.Second, 400*time.Millisecond
	s := newTestStore(t, Options{Endpoints: []string{p.serve(t, etcd), q.serve(t, etcd)}, Prefix: "/net"}, times)
	l := mustCreate(t, s, 1)
	for i := range 4 {
		// One of the two delays what it is sent first; the other never.
		first, second := p, q
		if i%2 == 1 {
			first, second = q, p
		}
		first.n.Store(1)
		second.n.Store(-1)
		was := l
		l.V4.Data = `{"VNI":` + string(rune('1'+i)) + `}`
		got, err := s.Renew(t.Context(), was, l, 2*time.Hour)
		if err != nil || got.Rev <= l.Rev || got.V4.Data != l.V4.Data {
			t.Fatalf("Renew %d = %+v, %v", i, got, err)
		}
		l = got
		first.n.Store(1)
		got, quiet, err := s.Refresh(t.Context(), l, 3*time.Hour)
		if err != nil || !quiet || got.Rev <= l.Rev || time.Until(got.Expires) < 170*time.Minute {
			t.Fatalf("Refresh %d = %+v, %t, %v", i, got, quiet, err)
		}
		l = got
	}
	if n := len(p.done) + len(q.done); n < 2 {
		t.Errorf("%d writes were late: nothing was shown", n)
	}
	if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 1 || got[0] != l {
		t.Errorf("Leases = %+v, %v; want %+v", got, err, l)
	}
}
