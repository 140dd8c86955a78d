package netif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// WatchLost calls lost each time that this host has lost an address, until ctx is done;
// then it returns nil. It also calls it when losses may have gone unseen, since there
// were more changes than the kernel's queue holds. An error says that none can be seen.
func WatchLost(ctx context.Context, lost func()) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR})
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		messages, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("watch addresses: %w", err)
		case err != nil, slices.ContainsFunc(messages, func(m netlink.Message) bool { return m.Header.Type == unix.RTM_DELADDR }):
			lost()
		}
	}
}
