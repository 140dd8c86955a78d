// Package tenant keeps a lease for this host as long as the daemon runs: it takes
// one, holds it, and takes another one when a host has it that is not this one. It
// decides which lease that is and what it says; it does not know how packets are
// forwarded, nor who is told.
package tenant

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"flanneld/pkg/systemd"
	"flanneld/subnet"
)

// Options are what a Tenant is made from.
type Options struct {
	Store   subnet.Store
	View    *subnet.View   // of all leases, which somebody else follows
	Request subnet.Request // what lease the host wants, without what Publish gives and Report
	Margin  time.Duration  // as in subnet.Holding
	Known   []subnet.Lease // of all hosts, when the daemon last ran
	// Surrender: a lease that is lost ends Run with ErrRevoked, and no other is taken.
	Surrender bool

	// Rename gives the host another node id, since a live host has this one's.
	Rename func(why error) (node string)
	// Changed is called when the State has changed, or the lease. It must not block
	// and not call the Tenant.
	Changed func(was, now subnet.Standing)

	Log *slog.Logger
}

// ErrRevoked ends the daemon as older releases end when their lease is gone.
var ErrRevoked = errors.New("Lease has been revoked. Shutting down daemon.")

// Tenant is this host with its lease. Its methods but Run are safe for concurrent use.
type Tenant struct {
	Options
	probe      *systemd.Probe    // of Run
	changes    chan subnet.Lease // what the lease is to say from now on
	acquired   subnet.Acquired   // of Run
	unverified bool

	mu       sync.Mutex
	avoid    []netip.Prefix
	lease    subnet.Lease // its claims: what it is to say
	standing subnet.Standing
}

// New returns a Tenant that has no lease yet.
func New(o Options) *Tenant {
	t := &Tenant{Options: o, probe: systemd.NewProbe("holds the lease"), changes: make(chan subnet.Lease, 1)}
	t.Request.Report = t.report
	for _, l := range o.Known { // what etcd has lost of them may be in use all the same
		t.Request.Freed = append(t.Request.Freed, l.Key())
	}
	return t
}

// State returns the lease, with what it is to say by now, and how the host stands
// with it.
func (t *Tenant) State() (subnet.Lease, subnet.Standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease, t.standing
}

// Publish sets what the lease says from now on: its type, and of both claims all but
// the subnet. What it has to avoid are the subnets that this host itself is in. It is
// called before Acquire, and when the host has moved, by one goroutine.
func (t *Tenant) Publish(claims subnet.Lease, avoid []netip.Prefix) {
	t.mu.Lock()
	lease := saying(claims, t.lease)
	same := lease == t.lease
	t.lease, t.avoid = lease, avoid
	t.mu.Unlock()
	if same {
		return // no other host needs to hear of it
	}
	select {
	case <-t.changes: // older ones, which Run has not taken
	default:
	}
	t.changes <- claims
}

// Alive returns nil once Run has shown that it does not hang, and an error if it has not
// when ctx is done.
func (t *Tenant) Alive(ctx context.Context) error { return t.probe.Alive(ctx) }

// saying returns the lease with other claims on the same subnets.
func saying(claims, l subnet.Lease) subnet.Lease {
	claims.V4.Subnet, claims.V6.Subnet = l.V4.Subnet, l.V6.Subnet
	l.V4, l.V6, l.Type = claims.V4, claims.V6, claims.Type
	return l
}

// Acquire takes a lease from the store. It tries until it has one or ctx is done,
// whose error it then returns.
func (t *Tenant) Acquire(ctx context.Context, store subnet.Store) (subnet.Acquired, error) {
	for {
		t.mu.Lock()
		t.Request.Lease, t.Request.Avoid = saying(t.lease, t.Request.Lease), t.avoid
		t.mu.Unlock()
		got, err := subnet.Acquire(ctx, store, t.Request, t.Log)
		if !errors.Is(err, subnet.ErrDuplicate) {
			return got, err
		}
		t.rename(err)
	}
}

// rename makes the host another node: it is a copy of the one that has its id.
func (t *Tenant) rename(why error) {
	t.Request.Lease.Node = t.Rename(why)
	t.Request.Previous = subnet.Key{}
}

// Begin sets the lease that Run is to hold. An unverified one was not read from the
// store but is what the host last knew.
func (t *Tenant) Begin(got subnet.Acquired, unverified bool) {
	t.View.Begin(t.Known, got)
	t.Known, t.Request.Freed, t.unverified = nil, nil, unverified // the View has them
	t.take(got)
	t.report(subnet.Standing{State: subnet.Held, Lease: got.Lease})
}

// Run holds the lease until ctx is done, and then returns nil. If another host has it,
// Run takes a new one, or returns ErrRevoked.
func (t *Tenant) Run(ctx context.Context) error {
	t.Request.TakeOver, t.Request.Known = false, true // a node that takes the lease from now on is alive
	for rebound := false; ; rebound = true {
		lease := t.acquired.Lease
		err := subnet.Hold(ctx, t.Store, lease, subnet.Holding{
			TTL: t.Request.TTL, Margin: t.Margin, Sent: t.acquired.Sent, Rebound: rebound,
			Unverified: t.unverified && !rebound, Surrender: t.Surrender,
			View: t.View, Log: t.Log, Report: t.report, Changes: t.changes, Ping: t.probe.Ask,
		})
		if !errors.Is(err, subnet.ErrLost) {
			return err
		}
		if t.Surrender {
			t.Log.Error("Lease has been revoked", "err", err)
			return ErrRevoked
		}
		t.Log.Error("Lease has been revoked. Taking another; Docker must be restarted with the new subnet", "err", err)
		t.Request.Previous, t.Request.Freed = lease.Key(), t.View.Freed()
		if errors.Is(err, subnet.ErrDuplicate) {
			t.rename(err)
		}
		t.probe.Busy.Store(true) // to take a lease may take as long as etcd is away
		got, err := t.Acquire(ctx, t.Store)
		if err != nil {
			return err
		}
		t.take(got)
		t.probe.Busy.Store(false)
	}
}

// take sets the lease that Run holds.
func (t *Tenant) take(got subnet.Acquired) {
	t.acquired = got
	t.acquired.Seen = subnet.Snapshot{} // which the View has
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lease = saying(t.lease, got.Lease)
}

// report is told how this host stands with its lease. A host that has lost one has
// lost it until it has another.
func (t *Tenant) report(s subnet.Standing) {
	t.mu.Lock()
	was := t.standing
	if s.State == subnet.Acquiring && was.State == subnet.Conflict {
		s = was
	}
	t.standing = s
	t.mu.Unlock()
	t.Changed(was, s)
}
