package netif

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// watchPause is the time between the starts of two watches: a burst that has filled the
// kernel's queue would fill it again.
const watchPause = time.Second

// WatchLost calls lost each time that this host has lost an address, until ctx is done;
// then it returns nil. It is called once more when losses may have gone unseen, since
// there were more than the kernel's queue holds. An error says that none can be seen at
// all.
func WatchLost(ctx context.Context, lost func()) error {
	for again := false; ; again = true {
		err := watchLost(ctx, again, lost)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !again {
			return fmt.Errorf("watch addresses: %w", err)
		}
		pause := time.NewTimer(watchPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// watchLost returns when the kernel has ended the watch, or the error that kept one
// from beginning.
func watchLost(ctx context.Context, missed bool, lost func()) error {
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		return err
	}
	defer func() {
		close(done)
		for range updates { // the library's goroutine ends when it can hand over what it has
		}
	}()
	if missed {
		lost()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			if !u.NewAddr {
				lost()
			}
		}
	}
}
