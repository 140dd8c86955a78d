package vxlan

import (
	"context"
	"fmt"
	"net/netip"

	"flanneld/backend"
)

// direct returns, by their PublicIP, the peers that need no tunnel with
// DirectRouting, and the interface on which each is a neighbour: those to which
// the kernel sends without a gateway. A peer that the kernel
// cannot reach at all is not among them. It is nil without DirectRouting.
func (b *Backend) direct(ctx context.Context, planes []backend.Plane) (map[netip.Addr]string, error) {
	if !b.opts.DirectRouting {
		return nil, nil
	}
	var peers []netip.Addr
	for _, plane := range planes {
		for _, peer := range plane.Peers {
			peers = append(peers, peer.PublicIP)
		}
	}
	hops, err := b.kernel.NextHops(ctx, b.scope, peers)
	if err != nil {
		return nil, fmt.Errorf("find peers that need no tunnel: %w", err)
	}
	direct := make(map[netip.Addr]string)
	for i, hop := range hops {
		if hop.Link != "" && !hop.Gateway.IsValid() {
			direct[peers[i]] = hop.Link
		}
	}
	return direct, nil
}
