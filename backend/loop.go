package backend

import (
	"context"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
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
	Log     *slog.Logger
}

// Pass says how a pass went.
type Pass struct {
	Peers int
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
	var said string
	for {
		start := time.Now()
		pass := l.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		said = l.report(pass, said)
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

func (l *Loop) pass(ctx context.Context) Pass {
	planes := l.Planes()
	p := Pass{}
	for _, plane := range planes {
		p.Peers = max(p.Peers, len(plane.Peers))
	}
	p.Err = l.Backend.Set(ctx, planes)
	p.Forwarding = p.Err == nil || datapath.OnlyRoutes(p.Err, p.Peers)
	return p
}

// report logs a pass whose outcome is another than the last one's, which said
// holds, and returns what was said.
func (l *Loop) report(p Pass, said string) string {
	switch {
	case p.Err == nil && said != "":
		l.Log.Info("Datapath is in step again", "peers", p.Peers)
		return ""
	case p.Err != nil && p.Err.Error() != said:
		l.Log.Error("Datapath is not as it should be; trying again", "err", p.Err)
		return p.Err.Error()
	}
	return said
}

// wait returns when there is a reason for a pass, or false if ctx is done.
func (l *Loop) wait(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.Changed:
	case <-l.Noticed:
	case <-timer.C:
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
