package etcd3

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

const stall = storetest.Stall

// brisk is the timing for a real etcd that is made to hang or to die.
func brisk() timing {
	t := defaults(0)
	t.call, t.answer, t.quiet = 2*time.Second, time.Second, time.Second
	return t
}

// wantFailure fails the test unless err is one line that names the endpoint and has the
// text, and none of the sentinels.
func wantFailure(t *testing.T, name string, err error, endpoint, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeds", name)
		return
	}
	for _, s := range []error{config.ErrNone, subnet.ErrTaken, subnet.ErrLost, subnet.ErrCompacted, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			t.Errorf("%s: %v is %v", name, err, s)
		}
	}
	_, host, _ := strings.Cut(endpoint, "://")
	if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, host) || !strings.Contains(s, text) {
		t.Errorf("%s: %q is not one line with %q and %q", name, s, host, text)
	}
}

// loseConnections ends all, as a router does that has forgotten them.
func loseConnections(s *Store) {
	s.dialer.Keep([]net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(32, 32)}})
}

// copyData copies the data of an etcd that has ended.
func copyData(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o700) // or etcd does not start
	})
	if err != nil {
		t.Fatal(err)
	}
}

// again starts an etcd where one was killed.
func again(t *testing.T, p *etcdproc.Proc) *etcdproc.Proc {
	t.Helper()
	q, err := p.Again(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Stop)
	return q
}

// Not parallel, as are the next: another test could be given etcd's port while it
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
	wantFailure(t, "Watch", w.End(t, 3*time.Second), p.URL, " (check that etcd runs there")
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, p.URL, "connection refused (check that etcd runs there")
	_, err = s.Create(t.Context(), lease(3), time.Hour)
	wantFailure(t, "Create", err, p.URL, "connection refused (check that etcd runs there")

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
	if _, quiet, err := s.Refresh(t.Context(), a, time.Hour); err != nil || !quiet {
		t.Errorf("Refresh: %t, %v", quiet, err)
	}
}

// A restart that is over before anybody asks is no trouble: the watch goes on where it was.
func TestAWatchGoesOnBehindAShortOutage(t *testing.T) {
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())
	loseConnections(s)
	w.Event(t, mustCreate(t, s, 2).Key())
}

// The host moves while etcd is asked, and is answered where it is now.
func TestACallWhoseConnectionIsClosedIsMadeAgain(t *testing.T) {
	t.Parallel()
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, defaults(0))
	mustCreate(t, s, 1)
	s.Moved() // it has not: what is open stays
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 2)
	go func() { _, _, err := s.Leases(t.Context()); answer <- err }()
	go func() { _, err := s.Create(t.Context(), lease(2), time.Hour); answer <- err }()
	time.Sleep(300 * time.Millisecond)
	loseConnections(s)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
}

func TestEtcdThatIsWiped(t *testing.T) {
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	harness(t, s, p.URL).Churn(50)
	l := mustCreate(t, s, 1)
	_, rev, err := s.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := storetest.Watch(t, s, rev)
	p.Kill()
	w.End(t, 3*time.Second)
	if err := p.Wipe(); err != nil {
		t.Fatal(err)
	}
	again(t, p)
	w = storetest.Watch(t, s, rev)
	if err := w.End(t, 3*time.Second); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch: %v, want ErrCompacted", err)
	}
	if _, _, err := s.Refresh(t.Context(), l, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Refresh: %v, want ErrLost", err)
	}
	got, now, err := s.Leases(t.Context())
	if err != nil || len(got) != 0 || now >= rev {
		t.Fatalf("Leases = %v at %d, %v; want none at a revision before %d", got, now, err, rev)
	}
	w = storetest.Watch(t, s, now)
	w.Event(t, mustCreate(t, s, 2).Key())
}

// A backup is of the time before: it has our value with an etcd lease that it knows, or
// what our key held before.
func TestEtcdThatIsRestored(t *testing.T) {
	p := etcdproc.StartProc(t)
	s := newTestStore(t, Options{Endpoints: []string{p.URL}, Prefix: "/net"}, brisk())
	l := mustCreate(t, s, 1)
	p.Stop()
	data := filepath.Join(p.Dir, "data")
	copyData(t, data, data+"-backup")
	again := again(t, p)
	was := l
	l.V4.Data = `{"VNI":2}`
	l, err := s.Renew(t.Context(), was, l, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	harness(t, s, p.URL).Churn(20)
	_, rev, err := s.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again.Stop()
	copyData(t, data+"-backup", data)
	last, err := again.Again(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(last.Stop)
	if err := storetest.Watch(t, s, rev).End(t, 3*time.Second); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch: %v, want ErrCompacted", err)
	}
	if _, _, err := s.Refresh(t.Context(), l, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Refresh: %v, want ErrLost", err)
	}
	all, _, err := s.Leases(t.Context())
	if err != nil || len(all) != 1 || !all[0].Same(was) {
		t.Fatalf("Leases = %+v, %v; want what was before", all, err)
	}
	if _, err := s.Renew(t.Context(), all[0], l, time.Hour); err != nil {
		t.Errorf("Renew over what was restored: %v", err)
	}
}

// A watch of a member that hangs is ended, whether or not anybody else asks it. The
// kernel goes on answering for it.
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
	start := time.Now()
	err := w.End(t, 2*brisk().quiet+brisk().answer+brisk().call+time.Second)
	wantFailure(t, "Watch", err, p.URL, "check that the host is up")
	t.Logf("the watch has ended after %v", time.Since(start).Round(10*time.Millisecond))
	start = time.Now()
	_, err = s.Create(t.Context(), lease(2), time.Hour)
	wantFailure(t, "Create", err, p.URL, "check that the host is up")
	if d := time.Since(start); d > brisk().call+stall {
		t.Errorf("Create took %v", d)
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// That creation was done late, or is done now.
	b := mustCreate(t, s, 2)
	w = storetest.Watch(t, s, b.Rev-1)
	w.Event(t, b.Key())
}

// A quiet watch is asked now and then whether it is there, and goes on.
func TestAQuietWatchIsAskedAndGoesOn(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	times := brisk()
	times.quiet = 100 * time.Millisecond
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, times)
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev)
	for range 5 {
		harness(t, s, url).Churn(10)
		time.Sleep(2 * times.quiet)
	}
	w.Event(t, mustCreate(t, s, 2).Key())
}

// What is compacted while a watch waits does not end it: it has seen all that there was.
func TestACompactionDoesNotEndAQuietWatch(t *testing.T) {
	t.Parallel()
	url := etcdproc.Start(t)
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, brisk())
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())
	harness(t, s, url).Churn(1001)
	w.Event(t, mustCreate(t, s, 2).Key())
	if err := storetest.Watch(t, s, a.Rev-1).End(t, time.Second); !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch from before the compaction: %v, want ErrCompacted", err)
	}
}

// All keys deleted in one write, and many that were tied to one etcd lease.
func TestKeysThatGoTogetherAreListedAgain(t *testing.T) {
	t.Parallel()
	s, seen := startSeen(t, Options{})
	all := func() clientv3.LeaseID {
		id := seen.grant(time.Hour)
		for n := range byte(3) {
			seen.put(s.leaseKey(lease(n).Key()), encoded(t, lease(n)), id)
		}
		return id
	}
	for name, do := range map[string]func(clientv3.LeaseID) error{
		"a deletion of all": func(clientv3.LeaseID) error {
			_, err := seen.Delete(t.Context(), "/net/subnets", clientv3.WithPrefix())
			return err
		},
		"an etcd lease that ends": func(id clientv3.LeaseID) error { _, err := seen.Revoke(t.Context(), id); return err },
	} {
		id := all()
		_, rev, err := s.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w := storetest.Watch(t, s, rev)
		if err := do(id); err != nil {
			t.Fatal(err)
		}
		if err := w.End(t, time.Second); !errors.Is(err, subnet.ErrCompacted) || len(w.Events) != 0 {
			t.Errorf("%s: Watch yields %d events and %v, want ErrCompacted", name, len(w.Events), err)
		}
	}
}
