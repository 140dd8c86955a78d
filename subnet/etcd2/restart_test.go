package etcd2

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// brisk is the timing for a real etcd that is made to hang or to die.
func brisk() timing {
	t := defaults(0)
	t.call, t.header, t.poll = 2*time.Second, time.Second, time.Second
	return t
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
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())
	b := mustCreate(t, s, 2)
	w.Event(t, b.Key())

	p.Kill()
	err := w.End(t, 3*time.Second)
	wantFailure(t, "Watch", err, p.URL, " (")
	_, _, err = s.Leases(t.Context())
	wantFailure(t, "Leases", err, p.URL, "connection refused (check that etcd runs there")

	again(t, p)
	if got, _, err := s.Leases(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("Leases = %v, %v; want two", got, err)
	}
	w = storetest.Watch(t, s, a.Rev) // etcd knows its history from before
	w.Event(t, b.Key())
	c := mustCreate(t, s, 3)
	w.Event(t, c.Key())
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
	w := storetest.Watch(t, s, rev)
	p.Kill()
	w.End(t, 3*time.Second)
	if err := os.RemoveAll(filepath.Join(p.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	again(t, p)
	w = storetest.Watch(t, s, rev)
	if err := w.End(t, 3*time.Second); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch: %v, want ErrCompacted", err)
	}
	got, now, err := s.Leases(t.Context())
	if err != nil || len(got) != 0 || now >= rev {
		t.Fatalf("Leases = %v at %d, %v; want none at a revision before %d", got, now, err, rev)
	}
	w = storetest.Watch(t, s, now)
	w.Event(t, mustCreate(t, s, 2).Key())
}

func TestEtcdThatHangs(t *testing.T) {
	t.Parallel()
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Its kernel goes on answering for it.
	err := w.End(t, 2*brisk().poll+2*brisk().header+brisk().call+time.Second)
	wantFailure(t, "Watch", err, p.URL, "check that the host is up")
	_, err = s.Create(t.Context(), lease(2), time.Hour)
	wantFailure(t, "Create", err, p.URL, "check that the host is up")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// That creation was done late, or is done now.
	b := mustCreate(t, s, 2)
	w = storetest.Watch(t, s, b.Rev-1)
	w.Event(t, b.Key())
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
	w := storetest.Watch(t, s, rev)
	for range 6 {
		h.Churn(250)
		time.Sleep(300 * time.Millisecond) // a poll ends
	}
	w.Event(t, mustCreate(t, s, 1).Key())
	if _, err := watch(t.Context(), s, rev, 1); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch from where the other began: %v, want ErrCompacted", err)
	}
}
