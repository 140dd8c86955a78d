package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// gone is the event of a key that was removed. Its revision is the store's
// affair.
func gone(l subnet.Lease) subnet.Event {
	return subnet.Event{Deleted: true, Lease: subnet.Lease{V4: subnet.Claim{Subnet: l.V4.Subnet}}}
}

func wantEvents(t *testing.T, h Harness, got []subnet.Event, want ...subnet.Event) {
	t.Helper()
	for i, e := range got {
		if i > 0 && e.Lease.Rev <= got[i-1].Lease.Rev {
			t.Errorf("event %d is of revision %d, after %d", i, e.Lease.Rev, got[i-1].Lease.Rev)
		}
		if e.Deleted {
			got[i].Lease.Rev, got[i].Unclear = 0, e.Unclear && !h.Bound
		} else if h.Bound && i < len(want) {
			got[i].Lease.Expires = bound(t, e.Lease, want[i].Lease)
		}
	}
	if diff := cmp.Diff(want, got, compare...); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func watchOrder(t *testing.T, h Harness) {
	_, rev := list(t, h)
	seen := make(chan []subnet.Event, 1)
	go func() {
		defer close(seen)
		seen <- events(t, h, rev, 4)
	}()
	a := create(t, h, lease(1, 1), time.Minute)
	b := create(t, h, lease(2, 2), 0)
	c, err := h.Store.Renew(t.Context(), a, a, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Store.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want := []subnet.Event{{Lease: a}, {Lease: b}, {Lease: c}, gone(b)}
	wantEvents(t, h, <-seen, want...)
	wantEvents(t, h, events(t, h, rev, 4), want...) // they have not gone away
}

func watchFrom(t *testing.T, h Harness) {
	create(t, h, lease(1, 1), time.Minute)
	b := create(t, h, lease(2, 2), time.Minute)
	c := create(t, h, lease(3, 3), time.Minute)
	wantEvents(t, h, events(t, h, b.Rev, 1), subnet.Event{Lease: c})
	_, rev := list(t, h)
	d := create(t, h, lease(4, 4), time.Minute)
	wantEvents(t, h, events(t, h, rev, 1), subnet.Event{Lease: d})
}

func watchExpiry(t *testing.T, h Harness) {
	start := time.Now()
	l := create(t, h, lease(1, 1), time.Second)
	wantEvents(t, h, events(t, h, l.Rev, 1), gone(l))
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("the lease expired after %v, want 1s", d)
	}
	wantLeases(t, h)
	if _, err := h.Store.Renew(t.Context(), l, l, time.Minute); !errors.Is(err, subnet.ErrLost) {
		t.Errorf("Renew of an expired lease: %v, want ErrLost", err)
	}
	create(t, h, lease(1, 2), time.Minute)
}

func watchIgnores(t *testing.T, h Harness) {
	_, rev := list(t, h)
	h.SetConfig("1")
	h.DeleteConfig()
	h.Churn(10)
	a := create(t, h, lease(1, 1), time.Minute)
	wantEvents(t, h, events(t, h, rev, 1), subnet.Event{Lease: a})
}

func watchCompacted(t *testing.T, h Harness) {
	_, rev := list(t, h)
	create(t, h, lease(1, 1), time.Minute)
	h.Churn(1001)
	if n, err := watchError(t, h, rev); n != 0 || !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch yields %d events and %v, want ErrCompacted", n, err)
	}
	_, rev = list(t, h)
	b := create(t, h, lease(2, 2), time.Minute)
	wantEvents(t, h, events(t, h, rev, 1), subnet.Event{Lease: b})
}

func watchDir(t *testing.T, h Harness) {
	create(t, h, lease(2, 2), time.Minute)
	a := create(t, h, lease(1, 1), time.Minute)
	h.DeleteDir()
	if n, err := watchError(t, h, a.Rev); n != 0 || !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch yields %d events and %v, want ErrCompacted", n, err)
	}
	_, rev := list(t, h)
	wantLeases(t, h)
	b := create(t, h, lease(1, 2), time.Minute)
	wantEvents(t, h, events(t, h, rev, 1), subnet.Event{Lease: b})
}

func watchFuture(t *testing.T, h Harness) {
	_, rev := list(t, h)
	start := time.Now()
	if n, err := watchError(t, h, rev+1_000_000); n != 0 || !errors.Is(err, subnet.ErrCompacted) {
		t.Errorf("Watch yields %d events and %v, want ErrCompacted", n, err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %v to notice", d)
	}
}

// junkValues are what people and broken daemons have left below subnets.
var junkValues = map[string]string{
	"notes":        "do not delete",
	"10.5.7.0-24":  "",
	"10.5.8.0-24":  `{"PublicIP":"2001:db8::1"}`,
	"10.5.9.0-24":  `{"PublicIP":`,
	"10.5.10.0-99": `{"PublicIP":"192.0.2.1"}`,
}

func junkLeftOut(t *testing.T, h Harness) {
	_, rev := list(t, h)
	for k, v := range junkValues {
		h.PutRaw(k, v, 0)
	}
	h.DeleteRaw("notes")
	l := create(t, h, lease(1, 1), time.Minute)
	wantLeases(t, h, l)
	var got []subnet.Event
	for e, err := range h.Store.Watch(t.Context(), rev) {
		if err != nil {
			t.Fatalf("Watch: %v", err)
		}
		if e.Deleted {
			continue // of a key that might have been a lease before
		}
		got = append(got, e)
		break
	}
	wantEvents(t, h, got, subnet.Event{Lease: l})
}

func junkDeletes(t *testing.T, h Harness) {
	l := create(t, h, lease(1, 1), time.Minute)
	h.PutRaw(wire.Key(l.Key()), "junk", 0)
	wantEvents(t, h, events(t, h, l.Rev, 1), gone(l))
	wantLeases(t, h)
}

func cancelled(t *testing.T, h Harness) {
	l := create(t, h, lease(1, 1), time.Minute)
	h.SetConfig("1")
	d, err := h.Store.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		call func(context.Context) error
	}{
		{"Config", func(ctx context.Context) error { _, err := h.Store.Config(ctx); return err }},
		{"AwaitConfig", func(ctx context.Context) error { _, err := h.Store.AwaitConfig(ctx, d.Rev); return err }},
		{"Leases", func(ctx context.Context) error { _, _, err := h.Store.Leases(ctx); return err }},
		{"Create", func(ctx context.Context) error { _, err := h.Store.Create(ctx, lease(2, 2), 0); return err }},
		{"Renew", func(ctx context.Context) error { _, err := h.Store.Renew(ctx, l, l, 0); return err }},
		{"Delete", func(ctx context.Context) error { return h.Store.Delete(ctx, l) }},
		{"Watch", func(ctx context.Context) error {
			for _, err := range h.Store.Watch(ctx, d.Rev) {
				return err
			}
			return nil
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tt.call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled", tt.name, err)
		}
		if tt.name != "Watch" && tt.name != "AwaitConfig" {
			continue
		}
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		if err := tt.call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s whose context ends: %v, want context.DeadlineExceeded", tt.name, err)
		}
		cancel()
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s took %v to end with its context", tt.name, d)
		}
	}
	wantLeases(t, h, l)
}
