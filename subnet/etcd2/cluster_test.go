package etcd2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/storetest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

func endpoints(members []*etcdproc.Proc) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.URL)
	}
	return all
}

// startMembers starts a cluster of three.
func startMembers(t *testing.T) []*etcdproc.Proc {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: members that are stopped, elect and come back take 10 s of real time")
	}
	return etcdproc.StartCluster(t, 3)
}

// Watches are open at all members, since each client picks one for itself.
func TestOneOfThreeMembersHangs(t *testing.T) {
	t.Parallel()
	members := startMembers(t)
	times := defaults(0)
	times.poll, times.header, times.dial = 2*time.Second, time.Second, time.Second
	s := newTestStore(t, Options{Endpoints: endpoints(members), Prefix: "/net"}, times)
	a := mustCreate(t, s, 1)
	var watches []storetest.Watching
	for range 6 {
		w := storetest.Watch(t, s, a.Rev-1)
		w.Event(t, a.Key())
		watches = append(watches, w)
	}
	for i, m := range members {
		if err := m.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		// That member may have been the leader, so others have to elect one.
		l := eventuallyCreate(t, s, byte(i+2), 20*time.Second)
		if _, _, err := s.Leases(t.Context()); err != nil {
			t.Errorf("Leases while a member hangs: %v", err)
		}
		for _, w := range watches {
			w.Seen(t, l, start.Add(20*time.Second))
		}
		if err := m.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		storetest.EventuallyHealthy(t, s)
	}
}

// eventuallyCreate creates a lease however often the outcome is unknown.
func eventuallyCreate(t *testing.T, s *Store, n byte, within time.Duration) subnet.Lease {
	t.Helper()
	for start := time.Now(); ; {
		l, err := s.Create(t.Context(), lease(n), time.Hour)
		if err == nil {
			return l
		}
		if errors.Is(err, subnet.ErrTaken) || time.Since(start) > within {
			t.Fatalf("Create: %v", err)
		}
	}
}

// The member that is left answers waits, and never again with an event.
func TestAWatchNoticesThatTheQuorumIsLost(t *testing.T) {
	t.Parallel()
	members := startMembers(t)
	times := defaults(0)
	times.poll, times.header, times.dial, times.call = 2*time.Second, time.Second, time.Second, 4*time.Second
	s := newTestStore(t, Options{Endpoints: []string{members[0].URL}, Prefix: "/net"}, times)
	a := mustCreate(t, s, 1)
	w := storetest.Watch(t, s, a.Rev-1)
	w.Event(t, a.Key())
	for _, m := range members[1:] {
		if err := m.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	// A poll that ends before the election is lost, and one after it.
	err := w.End(t, 2*(times.poll*3/2+times.call)+5*time.Second)
	wantFailure(t, "Watch", err, members[0].URL, " (check ")
	if _, _, err := s.Leases(t.Context()); err == nil {
		t.Error("Leases are read without a quorum")
	}
	for _, m := range members[1:] {
		if err := m.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	storetest.EventuallyHealthy(t, s)
	w = storetest.Watch(t, s, a.Rev)
	w.Event(t, eventuallyCreate(t, s, 2, 20*time.Second).Key())
}

// A member that is cut off from two others is left for one of them.
func TestAWatchLeavesAMemberThatIsCutOff(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		cut := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case isWait(r):
				quiet(8)(w, r)
			default:
				w.WriteHeader(http.StatusServiceUnavailable) // to a quorum read, and to who asks for the leader
			}
		})
		well := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if isWait(r) {
				reply(w, 9, 200, event9)
				return
			}
			reply(w, 9, 200, `{"id":"1","name":"one","peerURLs":[],"clientURLs":[]}`)
		})
		for start := time.Now(); cut.waits.Load() == 0; time.Sleep(time.Millisecond) { // the client asks in an order of the clock
			if time.Since(start) > 20*time.Second {
				t.Fatal("the member that is cut off is never asked")
			}
			s := newTestStore(t, Options{Endpoints: []string{cut.URL, well.URL}, Prefix: "/net"}, hasty())
			if e, err := watch(t.Context(), s, 8, 1); err != nil || len(e) != 1 {
				t.Errorf("Watch yields %v, %v; want the event", e, err)
			}
		}
		if cut.waits.Load() > 1 {
			t.Errorf("the member that is cut off is asked to wait %d times", cut.waits.Load())
		}
	})
}

// Many at once, at the same key: exactly one is told that it is its own.
func TestOneCreateWinsWhateverMembersDo(t *testing.T) {
	t.Parallel()
	members := startMembers(t)
	// A member that another test keeps from answering within a second is not to be
	// taken for one that hangs: a write that is given up is tried again, and refused.
	times := defaults(0)
	times.header, times.dial = 2*time.Second, time.Second
	var stores []*Store
	for range 6 {
		stores = append(stores, newTestStore(t, Options{Endpoints: endpoints(members), Prefix: "/net"}, times))
	}
	for round := range 6 {
		m := members[round%3]
		var mu sync.Mutex
		owners := 0
		var g sync.WaitGroup
		stop := time.AfterFunc(time.Duration(round)*time.Millisecond, func() { _ = m.Signal(syscall.SIGSTOP) })
		for i, s := range stores {
			g.Go(func() {
				l := lease(byte(round + 1))
				l.Node = fmt.Sprint("node", i)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var last error
				for ctx.Err() == nil {
					_, err := s.Create(ctx, l, time.Hour)
					if err == nil {
						mu.Lock()
						owners++
						mu.Unlock()
					}
					if err == nil || errors.Is(err, subnet.ErrTaken) {
						return
					}
					last = err
				}
				t.Errorf("a creation is never settled: %v", last)
			})
		}
		g.Wait()
		stop.Stop()
		_ = m.Signal(syscall.SIGCONT)
		if owners != 1 {
			t.Errorf("round %d: %d owners", round, owners)
		}
		storetest.EventuallyHealthy(t, stores[0])
	}
}
