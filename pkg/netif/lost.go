package netif

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// WatchLost calls lost each time that this host has lost an address, until ctx is done;
// then it returns nil. An error says that losses go unseen from now on.
func WatchLost(ctx context.Context, lost func()) error {
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	defer close(done)
	failed := make(chan error, 1)
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{ErrorCallback: func(err error) {
		select {
		case failed <- err:
		default:
		}
	}})
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			switch {
			case ok && !u.NewAddr:
				lost()
			case !ok:
				select {
				case err = <-failed:
				default:
					err = errors.New("the kernel has ended it")
				}
				return fmt.Errorf("watch addresses: %w", err)
			}
		}
	}
}
