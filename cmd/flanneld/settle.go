package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/resident"
)

const (
	// settled is the time from the first pass on after which what belongs to a start is
	// done: a second pass, and the first write of what is known.
	settled = 10 * time.Second
	// garbage is how much of it may gather, in per cent of what is in use, before it is
	// collected. With 5,000 peers a pass of every minute leaves as much as is in use, and
	// takes a few milliseconds more with a half.
	garbage = 50
)

// settle makes the daemon smaller once it has begun: a start takes twice the memory that
// it takes to stay there.
func settle(ctx context.Context, began <-chan struct{}, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-began:
	}
	if backoff.Sleep(ctx, settled) != nil {
		return nil
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if err := resident.Trim(); err != nil {
		log.Debug("Memory of the start is kept", "err", err)
	}
	return nil
}
