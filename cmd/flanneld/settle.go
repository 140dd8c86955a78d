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
	// settled is the time after a pass in which what belongs to it is done. After the first
	// one that is a second pass, and the first write of what is known.
	settled = 10 * time.Second
	// garbage is how much of it may gather, in per cent of what is in use, before it is
	// collected. With 5,000 peers a pass of every minute leaves as much as is in use, and
	// takes a few milliseconds more with a half.
	garbage = 50
)

// settle makes the daemon small again after each pass: a start takes twice the memory that it
// takes to stay there, and a pass leaves as much garbage as is in use. Of passes that follow one
// another there is one token, so that this is done once in ten seconds at most.
func settle(ctx context.Context, passes <-chan struct{}, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-passes:
		}
		if backoff.Sleep(ctx, settled) != nil {
			return nil
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(garbage)
		}
		if err := resident.Trim(); err != nil {
			log.Debug("Memory that is not needed any more is kept", "err", err)
		}
	}
}
