package etcd2

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"flanneld/subnet"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// brisk is the timing for a real etcd that is made to hang or to die.
func brisk() timing {
	t := defaults(0)
	t.call, t.header, t.poll = 2*time.Second, time.Second, time.Second
	return t
}

// watching is a watch that goes on while etcd is tampered with.
type watching struct {
	events chan subnet.Event
	ended  chan error
}

func goWatch(t *testing.T, s *Store, after subnet.Revision) watching {
	t.Helper()
	w := watching{make(chan subnet.Event, 100), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		for e, err := range s.Watch(ctx, after) {
			if err != nil {
				w.ended <- err
				return
			}
			w.events <- e
		}
	}()
	return w
}

// end waits for the watch's error.
func (w watching) end(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(within + stall):
		t.Fatalf("the watch does not end within %v", within)
		return nil
	}
}

func (w watching) event(t *testing.T, want subnet.Key) {
	t.Helper()
	select {
	case e := <-w.events:
		if e.Lease.Key() != want || e.Deleted {
			t.Errorf("event is %+v, want lease %v", e, want)
		}
	case err := <-w.ended:
		t.Fatalf("Watch: %v", err)
	case <-time.After(5*time.Second + stall):
		t.Fatalf("no event of %v", want)
	}
}

func mustCreate(t *testing.T, s *Store, n byte) subnet.Lease {
	t.Helper()
	l, err := s.Create(t.Context(), lease(n), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Not parallel, as is the next: another test could be given etcd's port while it
// is down.
func TestEtcdThatDiesAndComesBack(t *testing.T) {
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	a := mustCreate(t, s, 1)
	w := goWatch(t, s, a.Rev-1)
	w.event(t, a.Key())
	b := mustCreate(t, s, 2)
	w.event(t, b.Key())

	p.Kill()
	err := w.end(t, 3*time.Second)
	wantFailure(t, "Watch", err, p.URL, " (")
	_, _, err = s.Leases(t.Context())
	wantFailure(t, "Leases", err, p.URL, "connection refused (check that etcd runs there")

	again(t, p)
	if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("Leases = %v, %v; want two", got, err)
	}
	w = goWatch(t, s, a.Rev) // etcd knows its history from before
	w.event(t, b.Key())
	c := mustCreate(t, s, 3)
	w.event(t, c.Key())
	if _, err := s.Renew(t.Context(), b, b, time.Hour); err != nil {
		t.Errorf("Renew: %v", err)
	}
}

// again starts an etcd where one was killed.
func again(t *testing.T, p *etcdproc.Proc) *etcdproc.Proc {
	t.Helper()
	q, err := etcdproc.Run(t.Context(), p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Stop)
	return q
}

func TestEtcdThatIsWiped(t *testing.T) {
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	harness(t, s).Churn(50)
	mustCreate(t, s, 1)
	_, rev, err := s.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := goWatch(t, s, rev)
	p.Kill()
	w.end(t, 3*time.Second)
	if err := os.RemoveAll(filepath.Join(p.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	again(t, p)
	w = goWatch(t, s, rev)
	if err := w.end(t, 3*time.Second); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch: %v, want ErrCompacted", err)
	}
	got, now, err := s.Leases(t.Context())
	if err != nil || len(got) != 0 || now >= rev {
		t.Fatalf("Leases = %v at %d, %v; want none at a revision before %d", got, now, err, rev)
	}
	w = goWatch(t, s, now)
	w.event(t, mustCreate(t, s, 2).Key())
}

func TestEtcdThatHangs(t *testing.T) {
	t.Parallel()
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	a := mustCreate(t, s, 1)
	w := goWatch(t, s, a.Rev-1)
	w.event(t, a.Key())
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Its kernel goes on answering for it.
	err := w.end(t, 2*brisk().poll+2*brisk().header+brisk().call+time.Second)
	wantFailure(t, "Watch", err, p.URL, "check that the host is up")
	_, err = s.Create(t.Context(), lease(2), time.Hour)
	wantFailure(t, "Create", err, p.URL, "check that the host is up")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// That creation was done late, or is done now.
	b := mustCreate(t, s, 2)
	w = goWatch(t, s, b.Rev-1)
	w.event(t, b.Key())
}

// Writes by others push a history of 1000 events past a watch that is open.
func TestAQuietWatchOfABusyStoreIsNotCompacted(t *testing.T) {
	t.Parallel()
	p := etcdproc.StartProc(t)
	times := brisk()
	times.poll, times.confirm, times.soon = 200*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, times)
	h := harness(t, s)
	_, rev, err := s.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := goWatch(t, s, rev)
	for range 6 {
		h.Churn(250)
		time.Sleep(300 * time.Millisecond) // a poll ends
	}
	w.event(t, mustCreate(t, s, 1).Key())
	if _, err := watch(t.Context(), s, rev, 1); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch from where the other began: %v, want ErrCompacted", err)
	}
}
