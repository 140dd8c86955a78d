package nft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is how many notifications may wait, in bytes. One that is lost does
// no harm: they only say that something has changed.
const watchBuffer = 1 << 20

// Watch puts a token into changed, of which one waits at most, whenever a rule,
// chain, set or table of anybody is changed, until ctx is done. It returns nil
// then. Rules that iptables of the legacy flavour makes are not among them.
func (k *Kernel) Watch(ctx context.Context, changed chan<- struct{}) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.NetNS, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	defer c.Close()
	if err := c.SetReadBuffer(watchBuffer); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		_, err := c.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("watch nftables: %w", err)
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
