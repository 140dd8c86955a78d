package storetest

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

func leasesEmpty(t *testing.T, h Harness) {
	leases, rev := list(t, h)
	if len(leases) != 0 || rev == 0 {
		t.Errorf("Leases = %v at %d, want none and the revision", leases, rev)
	}
}

func createThenLeases(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Hour)
	b := create(t, h, lease(2, 2), 2*time.Hour)
	wantTTL(t, a, time.Hour)
	wantTTL(t, b, 2*time.Hour)
	if a.Rev == 0 || b.Rev <= a.Rev {
		t.Errorf("revisions %d and %d, want them to grow", a.Rev, b.Rev)
	}
	if !a.SameClaim(lease(1, 1)) {
		t.Errorf("Create changed the lease: %+v", a)
	}
	wantLeases(t, h, a, b)
	if _, rev := list(t, h); rev < b.Rev {
		t.Errorf("Leases are of revision %d, want at least %d", rev, b.Rev)
	}
}

func createDualStack(t *testing.T, h Harness) {
	l := lease(1, 1)
	l.V6 = subnet.Claim{
		Subnet:   netip.MustParsePrefix("fd00:5:0:1b::/64"),
		PublicIP: netip.MustParseAddr("2001:db8::1"),
		Data:     `{"VtepMAC":"c6:d2:32:6f:8f:45"}`,
	}
	got := create(t, h, l, time.Minute)
	if !got.SameClaim(l) {
		t.Errorf("Create = %+v, want %+v", got, l)
	}
	wantLeases(t, h, got)
	got, err := h.Store.Renew(t.Context(), got, got, time.Hour)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	wantLeases(t, h, got)
	if err := h.Store.Delete(t.Context(), got); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	wantLeases(t, h)
}

func createReservation(t *testing.T, h Harness) {
	l := create(t, h, lease(1, 1), 0)
	wantTTL(t, l, 0)
	wantLeases(t, h, l)
}

func createTaken(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	if _, err := h.Store.Create(t.Context(), lease(1, 2), time.Minute); !errors.Is(err, subnet.ErrTaken) {
		t.Errorf("Create of a lease that is there: %v, want ErrTaken", err)
	}
	h.PutRaw("10.5.2.0-24", "junk", 0)
	if _, err := h.Store.Create(t.Context(), lease(2, 2), time.Minute); !errors.Is(err, subnet.ErrTaken) {
		t.Errorf("Create where junk is: %v, want ErrTaken", err)
	}
	wantLeases(t, h, a)
}

// race runs f for n hosts at the same time, and returns how many had no error.
// The others' must be the sentinel.
func race(t *testing.T, n byte, sentinel error, f func(owner byte) error) int {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range errs {
		wg.Go(func() { errs[i] = f(byte(i)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, sentinel):
			t.Errorf("a loser's error is %v, want %v", err, sentinel)
		}
	}
	return won
}

func createRace(t *testing.T, h Harness) {
	for n := range byte(10) {
		won := race(t, 8, subnet.ErrTaken, func(owner byte) error {
			_, err := h.Store.Create(t.Context(), lease(n, owner), time.Minute)
			return err
		})
		if won != 1 {
			t.Errorf("%d of 8 created the lease, want one", won)
		}
	}
}

func renewMoves(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	was := a
	a.V4.Data = `{"VtepMAC":"02:00:00:00:00:01"}`
	b, err := h.Store.Renew(t.Context(), was, a, time.Hour)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	wantTTL(t, b, time.Hour)
	if b.Rev <= a.Rev || !b.SameClaim(a) {
		t.Errorf("Renew = %+v, want the lease at a revision after %d", b, a.Rev)
	}
	wantLeases(t, h, b)
	if c, err := h.Store.Renew(t.Context(), b, b, time.Hour); err != nil || c.Rev <= b.Rev {
		t.Errorf("Renew of what Renew returned = %+v, %v", c, err)
	}
}

func renewReservation(t *testing.T, h Harness) {
	l := create(t, h, lease(1, 1), time.Minute)
	l, err := h.Store.Renew(t.Context(), l, l, 0)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	wantTTL(t, l, 0)
	wantLeases(t, h, l)
}

func renewLost(t *testing.T, h Harness) {
	lost := func(name string, l subnet.Lease) {
		t.Helper()
		if _, err := h.Store.Renew(t.Context(), l, l, time.Hour); !errors.Is(err, subnet.ErrLost) {
			t.Errorf("Renew of a lease that %s: %v, want ErrLost", name, err)
		}
	}
	never := lease(9, 1)
	lost("never was", never)
	a := create(t, h, lease(1, 1), time.Minute)
	unread := lease(1, 1)
	unread.V4.Data = ""
	lost("was never read", unread)
	h.PutRaw(wire.Key(a.Key()), encode(t, lease(1, 2)), time.Minute)
	lost("another host has", a)
	h.DeleteRaw(wire.Key(a.Key()))
	lost("is gone", a)
	wantLeases(t, h)
	b := create(t, h, lease(1, 3), time.Minute)
	lost("went and came again for another", a)
	wantLeases(t, h, b)
}

// A store that was wiped, or restored, gives a revision out a second time.
func revisionReused(t *testing.T, h Harness) {
	winner := create(t, h, lease(1, 2), time.Minute)
	ours := lease(1, 1)
	ours.Rev = winner.Rev
	if _, err := h.Store.Renew(t.Context(), ours, ours, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Renew where another host has our revision: %v, want ErrLost", err)
	}
	if err := h.Store.Delete(t.Context(), ours); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Delete where another host has our revision: %v, want ErrLost", err)
	}
	renamed := winner
	renamed.Node = "aaaa"
	if _, err := h.Store.Renew(t.Context(), renamed, renamed, time.Hour); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Renew where the lease names no node: %v, want ErrLost", err)
	}
	wantLeases(t, h, winner)
}

func renewRace(t *testing.T, h Harness) {
	for n := range byte(10) {
		old := create(t, h, lease(n, 100), time.Minute)
		won := race(t, 8, subnet.ErrLost, func(owner byte) error {
			l := old
			l.V4.PublicIP = lease(n, owner).V4.PublicIP
			_, err := h.Store.Renew(t.Context(), old, l, time.Minute)
			return err
		})
		if won != 1 {
			t.Errorf("%d of 8 renewed the lease, want one", won)
		}
	}
}

func deleteRemoves(t *testing.T, h Harness) {
	a, b := create(t, h, lease(1, 1), time.Minute), create(t, h, lease(2, 2), 0)
	if err := h.Store.Delete(t.Context(), a); err != nil {
		t.Errorf("Delete: %v", err)
	}
	wantLeases(t, h, b)
	if err := h.Store.Delete(t.Context(), b); err != nil {
		t.Errorf("Delete of a reservation: %v", err)
	}
	wantLeases(t, h)
}

func deleteLost(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	b, err := h.Store.Renew(t.Context(), a, a, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Store.Delete(t.Context(), a); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Delete of a lease that was renewed: %v, want ErrLost", err)
	}
	wantLeases(t, h, b)
}

func deleteTwice(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	for range 2 {
		if err := h.Store.Delete(t.Context(), a); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}
