package vxlan

import (
	"fmt"
	"net"
	"net/netip"
)

// direct tells which peers need no tunnel, with DirectRouting: those in a
// subnet that the underlay interface is itself in, so that the kernel would
// send to them without a gateway. It is nil without DirectRouting.
func (b *Backend) direct() (func(netip.Addr) bool, error) {
	if !b.opts.DirectRouting {
		return nil, nil
	}
	ifi, err := net.InterfaceByName(b.underlay.Name)
	if err != nil {
		return nil, fmt.Errorf("find underlay interface: %w", err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", b.underlay.Name, err)
	}
	var nets []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Bits() < p.Addr().BitLen() {
			nets = append(nets, p.Masked())
		}
	}
	return func(peer netip.Addr) bool {
		for _, n := range nets {
			if n.Contains(peer) {
				return true
			}
		}
		return false
	}, nil
}
