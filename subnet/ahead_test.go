package subnet_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
)

// slowStore lists with a delay and counts how often.
type slowStore struct {
	subnet.Store
	delay time.Duration
	fails int // so many listings at first
	lists int
}

func (s *slowStore) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	s.lists++
	n := s.lists
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(s.delay):
	}
	if n <= s.fails {
		return nil, 0, errors.New("etcd is away")
	}
	return []subnet.Lease{{Type: "vxlan"}}, subnet.Revision(n), nil
}

func TestListAheadListsWhileNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{delay: 20 * time.Millisecond}
		ahead := subnet.ListAhead(t.Context(), s)
		time.Sleep(15 * time.Millisecond)
		start := time.Now()
		leases, rev, err := ahead.Leases(t.Context())
		if len(leases) != 1 || rev != 1 || err != nil || time.Since(start) != 5*time.Millisecond {
			t.Errorf("Leases = %v, %d, %v after %s", leases, rev, err, time.Since(start))
		}
		if _, rev, _ = ahead.Leases(t.Context()); rev != 2 {
			t.Errorf("the second listing is of revision %d", rev)
		}
	})
}

func TestListAheadThrowsAwayWhatIsOldOrFailed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails int
		wait  time.Duration
	}{{"old", 0, 2 * time.Second}, {"failed", 1, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowStore{delay: 20 * time.Millisecond, fails: tt.fails}
				ahead := subnet.ListAhead(t.Context(), s)
				time.Sleep(tt.wait)
				if _, rev, err := ahead.Leases(t.Context()); rev != 2 || err != nil {
					t.Errorf("Leases = revision %d, %v, want a second listing's", rev, err)
				}
			})
		})
	}
}

func TestListAheadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := subnet.ListAhead(t.Context(), &slowStore{delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := ahead.Leases(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Leases: %v", err)
		}
	})
}

func TestListAheadTellsHowItWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := subnet.ListAhead(t.Context(), &slowStore{delay: time.Second})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("too slow"))
		defer cancel()
		if err := ahead.Wait(ctx); err == nil || err.Error() != "too slow" {
			t.Errorf("Wait: %v", err)
		}
		if err := ahead.Wait(t.Context()); err != nil {
			t.Errorf("Wait: %v", err)
		}
		for range 100 {
			if err := ahead.Wait(ctx); err != nil {
				t.Fatalf("Wait for what is there, when it is late: %v", err)
			}
		}
		if _, rev, _ := ahead.Leases(t.Context()); rev != 1 {
			t.Errorf("Leases after Wait are of revision %d", rev)
		}
		failed := subnet.ListAhead(t.Context(), &slowStore{fails: 1})
		if err := failed.Wait(t.Context()); err == nil {
			t.Error("Wait does not tell that the listing failed")
		}
	})
}
