package mirror

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
)

// daemon is what this release does about a lease.
type daemon struct {
	lease  subnet.Lease
	took   time.Duration // to acquire it
	ended  chan error    // of Hold
	cancel context.CancelFunc
}

func (l *lab) daemon(s *space, want subnet.Lease) *daemon {
	l.Helper()
	cfg, _, err := config.Parse([]byte(document))
	if err != nil {
		l.Fatal(err)
	}
	began, log := time.Now(), slog.New(slog.DiscardHandler)
	clock := func() (time.Duration, time.Time) { return time.Since(began) + time.Hour, time.Now() }
	want.V4.Subnet = netip.Prefix{}
	got, err := subnet.Acquire(l.Context(), s.Store, subnet.Request{Config: cfg, Lease: want, Known: true, Clock: clock}, log)
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.Context())
	d := &daemon{lease: got.Lease, took: time.Since(began), ended: make(chan error, 1), cancel: cancel}
	view := subnet.NewView()
	view.Begin(nil, got)
	go func() { _ = subnet.Follow(ctx, s.Store, view, got.Seen.Rev, log) }()
	go func() {
		d.ended <- subnet.Hold(ctx, s.Store, got.Lease, subnet.Holding{View: view, Log: log, Clock: clock})
	}()
	return d
}

func (d *daemon) stop() error {
	d.cancel()
	return <-d.ended
}

func TestDaemonsMoveBackAndForth(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		at := []*space{l.v2, l.v3}
		for i := range 10 {
			here, there := at[i%2], at[1-i%2]
			d := l.daemon(here, one)
			if d.took > 0 {
				t.Errorf("it took %s to acquire", d.took)
			}
			l.settle()
			l.want(here, d.lease, "")
			l.want(there, d.lease, here.name)
			time.Sleep(30 * time.Hour)
			l.want(here, d.lease, "")
			l.want(there, d.lease, here.name)
			if err := d.stop(); err != nil {
				t.Error(err)
			}
		}
		if p := l.mirror.Report().Problems; len(p) != 0 {
			t.Errorf("problems: %+v", p)
		}
	})
}

// A copy of a whole machine is started on the other side: it is told, and the original
// keeps the lease.
func TestACopyOfAMachineOnTheOtherSide(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		original := l.daemon(l.v2, one)
		defer original.stop()
		time.Sleep(time.Hour)
		twin := one
		twin.V4.PublicIP = netip.MustParseAddr("192.0.2.66")
		copied := l.daemon(l.v3, twin)
		select {
		case err := <-copied.ended:
			if !errors.Is(err, subnet.ErrDuplicate) {
				t.Errorf("the copy's Hold = %v", err)
			}
		case err := <-original.ended:
			t.Errorf("the original's Hold = %v", err)
		case <-time.After(time.Minute):
			t.Error("nobody noticed")
		}
		copied.cancel()
		l.settle()
		l.want(l.v2, original.lease, "")
		l.want(l.v3, original.lease, "v2")
	})
}

// A host that has the address of another one, which is on the other side, does not get that
// one's lease.
func TestARivalOnTheOtherSide(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		original := l.daemon(l.v2, one)
		defer original.stop()
		l.settle()
		rival := one
		rival.Node, rival.V4.Subnet = "n9", netip.Prefix{}
		cfg, _, _ := config.Parse([]byte(document))
		ctx, cancel := context.WithTimeout(l.Context(), 10*time.Minute)
		defer cancel()
		got, err := subnet.Acquire(ctx, l.v3.Store, subnet.Request{Config: cfg, Lease: rival}, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("it has %+v", got.Lease)
		}
		l.settle()
		l.want(l.v2, original.lease, "")
		l.want(l.v3, original.lease, "v2")
		synctest.Wait()
	})
}
