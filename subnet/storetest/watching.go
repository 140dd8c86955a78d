package storetest

import (
	"context"
	"testing"
	"time"

	"flanneld/subnet"
)

// Stall is for how long a busy machine may not let a test go on. Whatever should end and
// does not, takes longer.
const Stall = 5 * time.Second

// Watching is a watch that goes on while the store is tampered with.
type Watching struct {
	Events chan subnet.Event
	Ended  chan error
}

// Watch begins one, which ends with the test.
func Watch(t *testing.T, s subnet.Store, after subnet.Revision) Watching {
	t.Helper()
	w := Watching{make(chan subnet.Event, 100), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		for e, err := range s.Watch(ctx, after) {
			if err != nil {
				w.Ended <- err
				return
			}
			w.Events <- e
		}
	}()
	return w
}

// End waits for the watch's error.
func (w Watching) End(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-w.Ended:
		return err
	case <-time.After(within + Stall):
		t.Fatalf("the watch does not end within %v", within)
		return nil
	}
}

// Event waits for the next event, which is to be of a lease that is there.
func (w Watching) Event(t *testing.T, want subnet.Key) {
	t.Helper()
	select {
	case e := <-w.Events:
		if e.Lease.Key() != want || e.Deleted {
			t.Errorf("event is %+v, want lease %v", e, want)
		}
	case err := <-w.Ended:
		t.Fatalf("Watch: %v", err)
	case <-time.After(5*time.Second + Stall):
		t.Fatalf("no event of %v", want)
	}
}

// Seen waits for an event of a lease, whatever comes before it.
func (w Watching) Seen(t *testing.T, l subnet.Lease, until time.Time) {
	t.Helper()
	for {
		select {
		case e := <-w.Events:
			if e.Lease.Key() == l.Key() {
				return
			}
		case err := <-w.Ended:
			t.Fatalf("a watch ends while two members of three are well: %v", err)
		case <-time.After(time.Until(until)):
			t.Fatalf("no event of %v", l.Key())
		}
	}
}

// EventuallyHealthy waits until the store answers.
func EventuallyHealthy(t *testing.T, s subnet.Store) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		_, _, err := s.Leases(t.Context())
		if err == nil {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("Leases: %v", err)
		}
	}
}
