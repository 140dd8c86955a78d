package status

import (
	"context"
	"log/slog"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
)

// countersEvery is how often counters are logged.
const countersEvery = time.Minute

// LogCounters logs the counters that have changed, once a minute, until ctx is
// done.
func LogCounters(ctx context.Context, read func() []backend.Counter, log *slog.Logger) error {
	if !log.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	last := make(map[string]uint64)
	for backoff.Sleep(ctx, countersEvery) == nil {
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
	return nil
}
