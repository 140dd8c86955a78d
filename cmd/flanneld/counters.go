package main

import (
	"context"
	"log/slog"
	"time"

	"flanneld/backend"
)

// countersEvery is how often counters are logged.
const countersEvery = time.Minute

// serveCounters makes the backend's counters readable, and returns what reads
// them; nil if it has none.
func (h *health) serveCounters(be backend.Backend) func() []backend.Counter {
	counting, ok := be.(backend.Counting)
	if !ok {
		return nil
	}
	read := counting.Counters
	h.counters.Store(&read)
	return func() []backend.Counter { return (*h.counters.Load())() } // another backend may follow
}

// logCounters logs the counters that have changed, once a minute, until ctx is
// done.
func logCounters(ctx context.Context, read func() []backend.Counter, log *slog.Logger) error {
	if read == nil || !log.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	tick := time.NewTicker(countersEvery)
	defer tick.Stop()
	last := make(map[string]uint64)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var changed []any
		for _, c := range read() {
			if c.Value != last[c.Name] {
				changed = append(changed, c.Name, c.Value)
				last[c.Name] = c.Value
			}
		}
		if changed != nil {
			log.Debug("Counters", changed...)
		}
	}
}
