package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"flanneld/pkg/logonce"
)

// Probe shows that a loop runs: the loop receives from Ask and calls what it gets,
// between two of its rounds, and calls Step in a round that takes long.
type Probe struct {
	Ask  chan func()
	Busy atomic.Bool // the loop does what may take as long as it will, and is not asked

	loop  string
	steps atomic.Int64
}

// NewProbe makes the probe of the loop that does what the text says, as in "holds the
// lease".
func NewProbe(loop string) *Probe { return &Probe{Ask: make(chan func()), loop: loop} }

// Step shows that the loop gets on with what it does.
func (p *Probe) Step() { p.steps.Add(1) }

// Alive returns nil once the loop has received, and an error if it has neither done so nor
// made a step when ctx is done.
func (p *Probe) Alive(ctx context.Context) error {
	if p.Busy.Load() {
		return nil
	}
	steps := p.steps.Load()
	select {
	case p.Ask <- func() {}: // that it is taken shows enough
	case <-ctx.Done():
		if !p.Busy.Load() && p.steps.Load() == steps { // it may have become busy meanwhile
			return fmt.Errorf("the loop that %s does not answer", p.loop)
		}
	}
	return nil
}

// feedsPer is the number of times the watchdog is fed in its interval.
const feedsPer = 4

// FeedWatchdog feeds systemd's watchdog (WatchdogSec=) until ctx is done, while every
// part answers nil. A part that does not is asked again: systemd ends the process if that
// takes the whole interval. It returns nil at once if there is no watchdog.
func FeedWatchdog(ctx context.Context, parts []func(context.Context) error, feed func(), log *slog.Logger) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("The watchdog is off: systemd's interval for it is invalid", "err", err)
	}
	if interval <= 0 {
		return nil
	}
	ticker := time.NewTicker(interval / feedsPer)
	defer ticker.Stop()
	var hangs logonce.Line
	for {
		err := AskAll(ctx, interval/feedsPer, parts)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			feed()
		}
		switch changed := hangs.ChangedError(err); {
		case changed && err != nil:
			log.Error("A part of the daemon hangs; systemd will restart it unless it goes on", "err", err, "within", interval)
		case changed:
			log.Info("All loops answer again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// AskAll asks all parts whether they are alive, and returns the first error.
func AskAll(ctx context.Context, within time.Duration, parts []func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var g errgroup.Group
	for _, alive := range parts {
		g.Go(func() error { return alive(ctx) })
	}
	return g.Wait()
}
