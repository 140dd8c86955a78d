package backend

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// Loop calls a backend's Set whenever there is a reason to look: the planes
// changed, the kernel said something, it is time, or the last pass failed.
type Loop struct {
	Backend Backend
	Planes  func() []Plane
	Changed <-chan struct{}    // the planes may have changed
	Noticed <-chan struct{}    // the kernel's state may have
	Resync  time.Duration      // how often it is looked at unasked; zero: a minute
	Done    func(p Pass) error // called after every pass; an error ends Run; may be nil
	Ledger  *Ledger            // the backend's Kernel; nil: nothing is said of repairs
	Asked   <-chan func()      // called by the loop between two passes, which shows that it runs; may be nil
	Log     *slog.Logger
}

// Pass says how a pass went.
type Pass struct {
	Peers int // that are forwarded to, those of one family
	Err   error
	// Forwarding is set if everything is in place but, at most, the routes to
	// some peers that cannot be reached from here.
	Forwarding bool
}

const (
	// idleFactor bounds the share of a core that looking again takes to a
	// tenth: a pass never starts sooner than so many times the last one's
	// duration after it.
	idleFactor = 10
	// maxGap bounds how long a change can wait for that.
	maxGap = time.Second

	firstRetry = 250 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Run makes passes until ctx is done; the first at once. It returns nil then,
// or what Done returned.
func (l *Loop) Run(ctx context.Context) error {
	resync := l.Resync
	if resync == 0 {
		resync = time.Minute
	}
	var retry time.Duration
	report := reporter{log: l.Log}
	var before []Plane // of the last pass, if that was a success
	for {
		start := time.Now()
		planes := l.Planes()
		pass, peers := l.pass(ctx, planes)
		if ctx.Err() != nil {
			return nil
		}
		l.report(&report, pass, peers, before != nil && same(before, planes))
		if before = nil; pass.Err == nil {
			before = planes
		}
		wait := resync
		if pass.Err != nil {
			retry = min(max(2*retry, firstRetry), lastRetry)
			wait = min(retry, resync)
		} else {
			retry = 0
		}
		if l.Done != nil {
			if err := l.Done(pass); err != nil {
				return err
			}
		}
		if backoff.Sleep(ctx, min(idleFactor*time.Since(start), maxGap)) != nil || !l.wait(ctx, wait) {
			return nil
		}
	}
}

// pass returns how it went, and the claims of all families that are forwarded to.
func (l *Loop) pass(ctx context.Context, planes []Plane) (Pass, []subnet.Claim) {
	p := Pass{Err: l.Backend.Set(ctx, planes)}
	var out []netip.Prefix
	if s, ok := l.Backend.(Skipper); ok {
		out = s.Skipped()
	}
	skipped := make(map[netip.Prefix]bool, len(out))
	for _, o := range out {
		skipped[o] = true
	}
	total := 0
	for _, plane := range planes {
		total += len(plane.Peers)
	}
	all := make([]subnet.Claim, 0, total)
	for _, plane := range planes {
		n := len(all)
		for _, peer := range plane.Peers {
			if !skipped[peer.Subnet] {
				all = append(all, peer)
			}
		}
		p.Peers = max(p.Peers, len(all)-n)
	}
	p.Forwarding = p.Err == nil || datapath.OnlyRoutes(p.Err, p.Peers)
	return p, all
}

// report logs what a pass brought about. It repeated the last one if that was a
// success and there was nothing else to do since.
func (l *Loop) report(r *reporter, p Pass, peers []subnet.Claim, repeated bool) {
	r.outcome(p)
	if p.Forwarding {
		r.forwarding(peers)
		r.passed = true
	}
	if l.Ledger == nil {
		return
	}
	changes, first := l.Ledger.take()
	if !repeated {
		changes = 0
	}
	r.repair(changes, first)
}

func same(a, b []Plane) bool {
	return slices.EqualFunc(a, b, func(a, b Plane) bool {
		return a.Network == b.Network && a.Subnet == b.Subnet && a.Blackhole == b.Blackhole && a.Fenced == b.Fenced && slices.Equal(a.Peers, b.Peers)
	})
}

// wait returns when there is a reason for a pass, or false if ctx is done.
func (l *Loop) wait(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for asked := true; asked; {
		asked = false
		select {
		case <-ctx.Done():
			return false
		case answer := <-l.Asked:
			answer()
			asked = true
		case <-l.Changed:
		case <-l.Noticed:
		case <-timer.C:
		}
	}
	// One look serves all reasons that there are by now.
	for _, reason := range []<-chan struct{}{l.Changed, l.Noticed} {
		select {
		case <-reason:
		default:
		}
	}
	return true
}
