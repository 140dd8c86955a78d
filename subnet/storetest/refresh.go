package storetest

import (
	"errors"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

func refreshMoves(t *testing.T, h Harness) {
	a := lease(1, 1)
	a.Node = "0123456789abcdef"
	a = create(t, h, a, time.Minute)
	b, quiet, err := h.Store.Refresh(t.Context(), a, time.Hour)
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	wantTTL(t, b, time.Hour)
	if b.Rev < a.Rev || !quiet && b.Rev == a.Rev || !b.SameClaim(a) || b.Node != a.Node {
		t.Errorf("Refresh = %+v, want the lease, and at a revision after %d unless it was quiet", b, a.Rev)
	}
	wantLeases(t, h, b)
	c := create(t, h, lease(2, 2), time.Minute)
	want := []subnet.Event{{Lease: c}}
	if !quiet {
		want = []subnet.Event{{Lease: b}, {Lease: c}}
	}
	got := events(t, h, a.Rev, len(want))
	for i, e := range got {
		if !e.Lease.SameClaim(want[i].Lease) || e.Deleted {
			t.Errorf("event %d after a refresh (quiet: %t) is %+v, want %+v", i, quiet, e, want[i])
		}
	}
	// What was refreshed can be written as what was read.
	if _, err := h.Store.Renew(t.Context(), b, b, time.Minute); err != nil {
		t.Errorf("Renew after a refresh: %v", err)
	}
}

func refreshReservation(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	h.PutRaw(wire.Key(a.Key()), encode(t, a), 0) // by an operator
	b, _, err := h.Store.Refresh(t.Context(), a, time.Hour)
	if err != nil || !b.Reserved() || !b.SameClaim(a) {
		t.Errorf("Refresh of a reservation = %+v, %v; want it as it was", b, err)
	}
	wantLeases(t, h, b)
}

func refreshTwice(t *testing.T, h Harness) {
	a := create(t, h, lease(1, 1), time.Minute)
	for range 2 { // the second time as if the first answer was lost
		if _, _, err := h.Store.Refresh(t.Context(), a, time.Hour); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
}

func refreshLost(t *testing.T, h Harness) {
	lost := func(name string, l subnet.Lease) {
		t.Helper()
		if _, _, err := h.Store.Refresh(t.Context(), l, time.Hour); !errors.Is(err, subnet.ErrLost) {
			t.Errorf("Refresh of a lease that %s: %v, want ErrLost", name, err)
		}
	}
	lost("never was", lease(9, 1))
	a := create(t, h, lease(1, 1), time.Minute)
	other := a
	other.Node = "another"
	lost("another node has", other)
	h.PutRaw(wire.Key(a.Key()), encode(t, lease(1, 2)), time.Minute)
	lost("another host has", a)
	left, _ := list(t, h)
	if len(left) != 1 || left[0].V4.PublicIP != lease(1, 2).V4.PublicIP {
		t.Errorf("after a refusal the leases are %+v", left)
	}
	h.DeleteRaw(wire.Key(a.Key()))
	lost("is gone", a)
	wantLeases(t, h)
}
