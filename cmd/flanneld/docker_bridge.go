package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/netif"
)

// bridgeLook is how often Docker's bridge is looked at. Docker makes it long after
// us, and changes it when it is restarted.
const bridgeLook = 5 * time.Second

// bridge is what there is of Docker's bridge.
type bridge struct {
	name  string
	addrs []netip.Prefix // IPv4, with the lengths of their subnets
	large map[string]int // MTU, in bytes, by name, of the ports that have too large a one
}

// wrong says why containers on the bridge cannot be reached, or not with large
// packets, and what to do; empty if they can. A bridge without an address is not
// there yet. Its own MTU means nothing: it follows its ports'.
func (b bridge) wrong(subnet netip.Prefix, mtu int) (what, remedy string) {
	if len(b.addrs) == 0 {
		return "", ""
	}
	first := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	if !slices.ContainsFunc(b.addrs, func(p netip.Prefix) bool { return p.Masked() == subnet }) {
		return fmt.Sprintf("%s has %s, which is not this host's subnet %s", b.name, b.addrs[0], subnet),
			fmt.Sprintf("restart Docker with what the subnet file says (--bip=%s --mtu=%d), or name the bridge that has it with --docker-bridge", first, mtu)
	}
	var large []string
	for name, has := range b.large {
		large = append(large, fmt.Sprintf("%s %d", name, has))
	}
	if len(large) == 0 {
		return "", ""
	}
	slices.Sort(large)
	return fmt.Sprintf("%d of the containers on %s have an MTU above the overlay's %d (%s)", len(large), b.name, mtu, large[0]),
		fmt.Sprintf("restart Docker with --mtu=%d, and make the containers anew", mtu)
}

// lookAtBridge reads the bridge of that name, whose ports are to have this MTU, in
// bytes, at most. It is not an error if there is none.
func lookAtBridge(name string, mtu int) (bridge, error) {
	b := bridge{name: name}
	var err error
	if b.large, err = netif.LargePorts(name, mtu); b.large != nil && err == nil {
		b.addrs, err = netif.Prefixes(name)
		b.addrs = slices.DeleteFunc(b.addrs, func(p netip.Prefix) bool { return !p.Addr().Is4() })
	}
	return b, err
}

// bridgeCheck says once what is wrong with Docker's bridge, and when it is right.
type bridgeCheck struct {
	name string
	log  *slog.Logger
	said string
}

// look returns what is wrong; empty: nothing.
func (c *bridgeCheck) look(subnet netip.Prefix, mtu int) string {
	b, err := lookAtBridge(c.name, mtu)
	if err != nil {
		return c.said // it is being made, or removed
	}
	what, remedy := b.wrong(subnet, mtu)
	switch {
	case what == c.said:
	case what != "":
		c.log.Warn("Docker does not use this host's subnet as it should: "+what, "hint", remedy)
	default:
		c.log.Info("Docker's bridge is as it should be", "bridge", c.name)
	}
	c.said = what
	return what
}

// watchHost looks, once the subnet file is there and until ctx is done, at what of the
// host the overlay depends on and is not ours: Docker's bridge, and the kernel's
// forwarding.
func (d *daemon) watchHost(ctx context.Context) error {
	check := bridgeCheck{name: d.opts.DockerBridge, log: d.log}
	forwarding := forwardingCheck{path: ipForward, log: d.log}
	for backoff.Sleep(ctx, bridgeLook) == nil {
		d.mu.Lock()
		told := d.told
		d.mu.Unlock()
		if told == (handover{}) {
			continue
		}
		now := ""
		if changesNetwork(d.cfg.Type) {
			now = forwarding.look()
		}
		if check.name != "" {
			if b := check.look(told.key.V4, told.mtu); now == "" {
				now = b
			}
		}
		d.board.SetTrouble(now)
	}
	return nil
}
