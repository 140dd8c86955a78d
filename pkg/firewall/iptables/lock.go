package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is what users of the legacy flavour lock.
const lockFile = "/run/xtables.lock"

// lockRetry is how often a lock that another process has is tried again.
const lockRetry = 50 * time.Millisecond

// lock takes the lock in place of an iptables-restore that does not, and returns
// what releases it.
func lock(ctx context.Context, path string, most time.Duration) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the iptables rules: %w", err)
	}
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-deadline.C:
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: another program has had it for %s (find it with lsof)", path, most)
		case <-retry.C:
		}
	}
}
