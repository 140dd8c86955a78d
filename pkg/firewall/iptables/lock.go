package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/backoff"
)

// lockFile is what users of the legacy flavour lock.
const lockFile = "/run/xtables.lock"

// lockRetry is the time between two tries for a lock that another process has.
const lockRetry = 50 * time.Millisecond

// lock takes the lock in place of an iptables-restore that does not, and returns
// what releases it.
func lock(ctx context.Context, path string, most time.Duration) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the iptables rules: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("another program has had it for %s (find it with lsof)", most))
	defer cancel()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		if backoff.Sleep(ctx, lockRetry) != nil {
			err = context.Cause(ctx)
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}
