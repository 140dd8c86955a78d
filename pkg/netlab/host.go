package netlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
)

// Uplink is the name of every host's and every container's interface.
const Uplink = "eth0"

// Bridge is the name of the bridge that a host's containers are joined to.
const Bridge = "docker0"

// Host is a machine on the underlay.
type Host struct {
	Namespace
	lab        *Lab
	label      string
	addr       netip.Prefix
	bridge     netip.Prefix // zero if there is none
	containers map[string]*Container
}

// Container is a machine behind a host.
type Container struct {
	Namespace
	addr netip.Prefix
}

// Host adds a host with the given IPv4 address and prefix length
// ("192.168.1.11/24") on its interface Uplink, and its default route through
// the switch, which has the subnet's first address. The name is at most 12
// lower-case letters, digits and dashes, and new to the lab.
func (l *Lab) Host(name, addr string) (*Host, error) {
	a, err := netip.ParsePrefix(addr)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	subnet := a.Masked()
	switch {
	case !validName.MatchString(name) || name == "switch":
		return nil, fmt.Errorf("add host %q: name is not usable", name)
	case l.hosts[name] != nil:
		return nil, fmt.Errorf("add host %s: exists already", name)
	case !a.Addr().Is4() || a.Bits() > 30:
		return nil, fmt.Errorf("add host %s: %s is no IPv4 address in a subnet of two or more hosts", name, a)
	case a.Addr() == subnet.Addr() || a.Addr() == subnet.Addr().Next():
		return nil, fmt.Errorf("add host %s: %s is the subnet's or the switch's own", name, a)
	}
	bridge, err := l.bridge(subnet)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	ns, err := l.namespace(name)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	h := &Host{Namespace: ns, lab: l, label: name, addr: a, containers: make(map[string]*Container)}
	if err := join(l.sw.Namespace, name, bridge, ns, a); err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	l.hosts[name] = h
	return h, nil
}

// Name returns the name that the host was added with; empty for the switch.
func (h *Host) Name() string { return h.label }

// Addr returns the host's underlay address and prefix length; zero for the
// switch.
func (h *Host) Addr() netip.Prefix { return h.addr }

// Gateway returns the switch's address on the host's underlay subnet.
func (h *Host) Gateway() netip.Addr { return h.addr.Masked().Addr().Next() }

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
	c := &Container{Namespace: ns, addr: netip.PrefixFrom(addr, bridge.Bits())}
	err = join(h.Namespace, "ve-"+name, Bridge, ns, c.addr)
	if err == nil {
		// Not when the pair is made: a bridge takes the smallest MTU of its
		// ports unless its own was set, and so would hide a wrong one.
		err = errors.Join(
			ns.ip("link", "set", Uplink, "mtu", fmt.Sprint(mtu)),
			h.ip("link", "set", "ve-"+name, "mtu", fmt.Sprint(mtu)),
			ns.ip("route", "add", "default", "via", bridge.Addr().String()),
		)
	}
	if err != nil {
		return nil, fmt.Errorf("add container %s to %s: %w", name, h.label, err)
	}
	h.containers[name] = c
	return c, nil
}
