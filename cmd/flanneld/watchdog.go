package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"flanneld/backend"
)

// lifeline is a way to see that a loop runs: what is sent is called by the loop
// itself, between two of its steps.
type lifeline struct {
	what string // the loop, in a sentence
	ask  chan func()
	away atomic.Bool // it does what may take as long as it will
}

func newLifeline(what string) *lifeline { return &lifeline{what: what, ask: make(chan func())} }

// Alive returns nil once the loop has answered.
func (l *lifeline) Alive(ctx context.Context) error {
	if l.away.Load() {
		return nil
	}
	answered := make(chan struct{})
	select {
	case l.ask <- func() { close(answered) }:
	case <-ctx.Done():
		if l.away.Load() { // since
			return nil
		}
		return fmt.Errorf("the loop that %s does not answer", l.what)
	}
	select { // the loop is in the answer, which blocks nowhere
	case <-answered:
	case <-ctx.Done():
	}
	return nil
}

// lifelines are of the loops that, if they hang, leave a host that looks well and
// is not, and that a restart sets right. Not asked is what waits for etcd: its
// requests are bounded one by one, and no restart brings etcd back.
func (d *daemon) lifelines() []backend.Living {
	return []backend.Living{d.passes, d.holding, &d.running}
}

// running is the backend that moves packets: another one when the host has another
// address, and none in between.
type running struct {
	mu      sync.Mutex
	backend backend.Backend
}

func (r *running) set(be backend.Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backend = be
}

func (r *running) get() backend.Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backend
}

// Alive implements backend.Living, for all backends.
func (r *running) Alive(ctx context.Context) error {
	be := r.get()
	living, ok := be.(backend.Living)
	if !ok {
		return nil
	}
	if err := living.Alive(ctx); err != nil && r.get() == be {
		return err
	}
	return nil
}

// watchdogTime returns how often systemd wants to hear from this process
// (WatchdogSec=); zero: not at all.
func watchdogTime(log *slog.Logger) time.Duration {
	most, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("The watchdog is off: systemd has not said properly how often it wants to hear from us", "err", err)
	}
	return most
}

// feedsPer says how many times the watchdog is fed in the time it allows.
const feedsPer = 4

// feedWatchdog feeds systemd's watchdog until ctx is done, as long as everything
// that lives answers. What does not is asked again: systemd ends the daemon if it
// has not answered in its whole time.
func feedWatchdog(ctx context.Context, most time.Duration, alive []backend.Living, feed func(), log *slog.Logger) error {
	if most <= 0 {
		return nil
	}
	ticker := time.NewTicker(most / feedsPer)
	defer ticker.Stop()
	said := ""
	for {
		err := askAll(ctx, most/feedsPer, alive)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			feed()
			if said != "" {
				log.Info("All loops answer again")
			}
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.Error("A part of the daemon hangs; systemd will restart it unless it goes on", "err", err, "within", most)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// askAll returns the first error.
func askAll(ctx context.Context, within time.Duration, alive []backend.Living) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answers := make(chan error, len(alive))
	for _, a := range alive {
		go func() { answers <- a.Alive(ctx) }()
	}
	var first error
	for range alive {
		if err := <-answers; first == nil {
			first = err
		}
	}
	return first
}
