package netlab

import (
	"fmt"
	"net/netip"
)

// Bridge is the name of the bridge that a host's containers are joined to.
const Bridge = "docker0"

// Container is a machine behind a host.
type Container struct {
	Namespace
	host        *Host
	nth         int // of the host's, from 1
	addr, addr6 netip.Prefix
}

// Addr returns the container's address and prefix length.
func (c *Container) Addr() netip.Prefix { return c.addr }

// Container adds a container behind the host. The bridge's address and prefix
// length ("10.100.5.1/24") are those of the host's interface Bridge, which is
// made for the host's first container; all its containers have to name the same
// one. The container has the next free address after it, a default route
// through it, and the given MTU in bytes, as has the bridge.
func (h *Host) Container(name string, bridge netip.Prefix, mtu int) (*Container, error) {
	switch {
	case h == h.lab.sw:
		return nil, fmt.Errorf("add container %s: the switch has none", name)
	case !validName.MatchString(name) || h.containers[name] != nil:
		return nil, fmt.Errorf("add container %q to %s: name is not usable or taken", name, h.label)
	case h.bridge.IsValid() && h.bridge != bridge:
		return nil, fmt.Errorf("add container %s to %s: %s has address %s", name, h.label, Bridge, h.bridge)
	}
	addr := bridge.Addr().Next()
	for range h.containers {
		addr = addr.Next()
	}
	if !bridge.Contains(addr) {
		return nil, fmt.Errorf("add container %s to %s: no address left in %s", name, h.label, bridge)
	}
	if !h.bridge.IsValid() {
		if err := h.ipAll(
			[]string{"link", "add", Bridge, "type", "bridge"},
			[]string{"link", "set", Bridge, "mtu", fmt.Sprint(mtu), "up"},
			[]string{"addr", "add", bridge.String(), "dev", Bridge},
		); err != nil {
			return nil, fmt.Errorf("add container %s to %s: %w", name, h.label, err)
		}
		h.bridge = bridge
	}
	ns, err := h.lab.namespace(h.label + "-" + name)
	if err != nil {
		return nil, fmt.Errorf("add container %s to %s: %w", name, h.label, err)
	}
	c := &Container{Namespace: ns, host: h, nth: len(h.containers) + 1, addr: netip.PrefixFrom(addr, bridge.Bits())}
	h.containers[name] = c
	err = plug(h.Namespace, "ve-"+name, Bridge, ns, mtu)
	if err == nil {
		err = c.ipAll(
			[]string{"addr", "add", c.addr.String(), "dev", Uplink},
			[]string{"route", "add", "default", "via", bridge.Addr().String()},
		)
	}
	if err != nil {
		return nil, fmt.Errorf("add container %s to %s: %w", name, h.label, err)
	}
	return c, nil
}

// plug joins a namespace to a bridge by a veth pair: port at the bridge, Uplink
// in the namespace. Both ends get the MTU, in bytes; zero means 1500,
// as on Ethernet.
func plug(at Namespace, port, bridge string, ns Namespace, mtu int) error {
	if mtu == 0 {
		mtu = 1500
	}
	size := fmt.Sprint(mtu)
	// The kernel names the far end: veth0, since none keeps that name here.
	if err := at.ipAll(
		[]string{"link", "add", "name", port, "type", "veth"},
		[]string{"link", "set", "dev", "veth0", "netns", ns.name, "name", Uplink},
		[]string{"link", "set", "dev", port, "mtu", size, "master", bridge, "up"},
	); err != nil {
		return err
	}
	return ns.ip("link", "set", Uplink, "mtu", size, "up")
}
