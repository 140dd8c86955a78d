package netlab

import (
	"errors"
	"fmt"
	"net/netip"
)

// AddIPv6 gives the host an IPv6 underlay address and prefix length beside its
// IPv4 one ("fd00:1::11/64"), and a default route through the switch, which has
// the subnet's first address. All hosts of an IPv4 subnet share the IPv6 one.
func (h *Host) AddIPv6(addr string) error {
	a, err := netip.ParsePrefix(addr)
	if err == nil {
		err = h.checkIPv6(a)
	}
	if err == nil {
		err = h.addIPv6(a)
	}
	if err != nil {
		return fmt.Errorf("add IPv6 address to %s: %w", h.label, err)
	}
	h.addr6 = a
	return nil
}

// Addr6 returns the host's IPv6 address and prefix length; zero if it has none.
func (h *Host) Addr6() netip.Prefix { return h.addr6 }

func (h *Host) checkIPv6(a netip.Prefix) error {
	switch {
	case h == h.lab.sw:
		return errors.New("the switch is no host")
	case h.addr6.IsValid():
		return fmt.Errorf("it has %s", h.addr6)
	case !a.Addr().Is6() || a.Addr().Is4In6():
		return fmt.Errorf("%s is no IPv6 address", a)
	case a.Addr() == a.Masked().Addr() || a.Addr() == switchAddr(a).Addr():
		return fmt.Errorf("%s is the subnet's or the switch's own", a)
	}
	return nil
}

// addIPv6 sets the address. A reboot calls it again, since the kernel drops IPv6
// addresses when the link goes down.
func (h *Host) addIPv6(a netip.Prefix) error {
	bridge, err := h.lab.bridge(h.addr.Masked())
	if err != nil {
		return err
	}
	return errors.Join(
		h.lab.sw.ip("addr", "replace", switchAddr(a).String(), "dev", bridge),
		h.ip("addr", "replace", a.String(), "dev", Uplink),
		h.ip("route", "replace", "default", "via", switchAddr(a).Addr().String()),
	)
}

// switchAddr is the switch's address on the subnet of a host's address.
func switchAddr(host netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(host.Masked().Addr().Next(), host.Bits())
}

// AddIPv6 gives the container an IPv6 address beside its IPv4 one. The bridge's
// address and prefix length ("fd00:100:0:5::1/64") are added to the host's
// interface Bridge; the container has the next address, or for the host's nth
// container the nth, and a default route through the bridge.
func (c *Container) AddIPv6(bridge netip.Prefix) error {
	if !bridge.Addr().Is6() || bridge.Addr().Is4In6() {
		return fmt.Errorf("add IPv6 address to container %s: %s is no IPv6 address", c.name, bridge)
	}
	a := bridge.Addr()
	for range c.nth {
		a = a.Next()
	}
	if !bridge.Contains(a) {
		return fmt.Errorf("add IPv6 address to container %s: no address left in %s", c.name, bridge)
	}
	c.addr6 = netip.PrefixFrom(a, bridge.Bits())
	if err := errors.Join(
		c.host.ip("addr", "replace", bridge.String(), "dev", Bridge),
		c.ip("addr", "add", c.addr6.String(), "dev", Uplink),
		c.ip("route", "add", "default", "via", bridge.Addr().String()),
	); err != nil {
		return fmt.Errorf("add IPv6 address to container %s: %w", c.name, err)
	}
	return nil
}

// Addr6 returns the container's IPv6 address and prefix length, zero if it has
// none.
func (c *Container) Addr6() netip.Prefix { return c.addr6 }
