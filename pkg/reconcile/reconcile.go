// Package reconcile decides when to look again at a state that must be as it is
// wanted, and says in the log how that went. It does not know what the state is, or
// how it is compared and changed: that is a function's.
package reconcile

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
)

// Loop calls Pass whenever there is a reason to look: somebody leaves a token in
// Wake, the time of Resync is over, or the last pass failed. The fields must not
// change while Run runs.
type Loop struct {
	// Pass puts the state in place, as far as it differs. It is called at once and
	// then by Run's goroutine only. It must be idempotent, and cheap when nothing
	// differs.
	Pass func(ctx context.Context) Result

	// Done is called after each pass, once the log has its outcome. An error ends
	// Run. Nil: nothing follows a pass.
	Done func(Result) error

	// Wake is usually a wake.Chan. All tokens that are left in it during a pass, and
	// during the pause after that, make one further pass.
	Wake <-chan struct{}

	// Alive is a channel of functions that Run calls between two passes: an answer
	// shows that it does not hang. Nil: nobody asks.
	Alive <-chan func()

	Resync time.Duration   // the longest time between two passes; zero: a minute
	Retry  backoff.Backoff // the time to the next pass after one that failed, at most Resync; zero bounds: 250 ms and 15 s
	Gap    time.Duration   // the shortest pause after a pass, at most a second; zero: only ten times what the pass took

	Subject  string // what the log calls the state, as the first word of a sentence
	Repaired string // the log line when others had changed the state
	Log      *slog.Logger
}

// Result says how a pass went.
type Result struct {
	Err error

	// Idle is set if nothing is wanted yet. Such a pass is neither a success nor a
	// failure: it is not logged, Done is not called, and no pause follows.
	Idle bool

	Repairs int // the number of changes that only others' changes made necessary
	First   any // the first of them, for the log

	Attrs []any // the attributes of the log line that says that the state is in step again
}

const (
	// idleFactor bounds the share of a core that looking again takes to a tenth:
	// the pause after a pass is so many times as long as the pass.
	idleFactor = 10
	// maxGap is the longest such pause, since a change may be waiting.
	maxGap = time.Second
	// repairGap is the shortest time between two lines about repairs: another
	// program that undoes each of them must not fill the disk.
	repairGap = time.Minute

	usualResync = time.Minute
	firstRetry  = 250 * time.Millisecond
	lastRetry   = 15 * time.Second
)

// Run makes passes until ctx is done, the first one at once. It returns nil then, or
// the error that Done returned. A pass that ctx cuts short is not logged, and Done
// does not hear of it.
func (l *Loop) Run(ctx context.Context) error {
	resync, retry := cmp.Or(l.Resync, usualResync), l.Retry
	retry.Min, retry.Max = cmp.Or(retry.Min, firstRetry), cmp.Or(retry.Max, lastRetry)
	log := reporter{loop: l}
	for {
		start := time.Now()
		r := l.Pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := resync
		if !r.Idle {
			log.pass(r)
			if r.Err != nil {
				wait = min(retry.Next(), resync)
			} else {
				retry.Reset()
			}
			if l.Done != nil {
				if err := l.Done(r); err != nil {
					return err
				}
			}
			gap := min(max(l.Gap, idleFactor*time.Since(start)), maxGap)
			if backoff.Sleep(ctx, gap) != nil {
				return nil
			}
		}
		if !l.wait(ctx, wait) {
			return nil
		}
	}
}

// wait returns when there is a reason for a pass, or false if ctx is done.
func (l *Loop) wait(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case answer := <-l.Alive:
			answer()
		case <-l.Wake:
			return true
		case <-timer.C:
			return true
		}
	}
}

// reporter logs how passes go: an outcome when it changes, and repairs now and then.
type reporter struct {
	loop   *Loop
	failed logonce.Line

	repairs int // since the last line about them
	first   any
	logged  time.Time // when that line was
}

func (p *reporter) pass(r Result) {
	log := p.loop.Log
	if p.failed.ChangedError(r.Err) {
		if r.Err != nil {
			log.Error(p.loop.Subject+" is not as it should be; trying again", "err", r.Err)
		} else {
			log.Info(p.loop.Subject+" is in step again", r.Attrs...)
		}
	}
	if p.repairs == 0 {
		p.first = r.First
	}
	p.repairs += r.Repairs
	if p.repairs == 0 || !p.logged.IsZero() && time.Since(p.logged) < repairGap {
		return
	}
	log.Info(p.loop.Repaired, "changes", p.repairs, "first", p.first)
	p.repairs, p.logged = 0, time.Now()
}
