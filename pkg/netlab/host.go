package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
)

// Uplink is the name of every host's and every container's interface.
const Uplink = "eth0"

// Host is a machine on the underlay.
type Host struct {
	Namespace
	lab        *Lab
	label      string
	addr       netip.Prefix
	addr6      netip.Prefix // zero if there is none
	containers containers
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
	h := &Host{Namespace: ns, lab: l, label: name, addr: a}
	h.containers = containers{host: h, named: make(map[string]*Container)}
	l.hosts[name] = h
	if err := h.join(bridge); err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	return h, nil
}

// Container adds a container behind the host. The bridge's address and prefix
// length ("10.100.5.1/24") are those of the host's interface Bridge, which is
// made for the host's first container; all its containers have to name the same
// one. The container has the next free address after it and a default route
// through it. The container and the bridge have the given MTU, in bytes.
func (h *Host) Container(name string, bridge netip.Prefix, mtu int) (*Container, error) {
	if h == h.lab.sw {
		return nil, fmt.Errorf("add container %s: the switch has none", name)
	}
	c, err := h.containers.add(name, bridge, mtu)
	if err != nil {
		return nil, fmt.Errorf("add container %q to %s: %w", name, h.label, err)
	}
	return c, nil
}

// port is the name of the switch's end of the host's cable.
func (h *Host) port() string { return "to-" + h.label }

// join joins the host to one of the switch's bridges.
func (h *Host) join(bridge string) error {
	if err := plug(h.lab.sw.Namespace, h.port(), bridge, h.Namespace, 0); err != nil {
		return err
	}
	return h.ipAll(
		[]string{"addr", "add", h.addr.String(), "dev", Uplink},
		[]string{"route", "add", "default", "via", h.Gateway().String()},
	)
}

// Renew gives the host another namespace, of the same name, with an uplink and
// nothing else: the host has lost its devices, routes, firewall rules and settings, as
// after a reboot of the machine, and its containers.
// The caller ends the host's processes first.
func (h *Host) Renew() error {
	if h == h.lab.sw {
		return errors.New("renew the switch: it is no host")
	}
	bridge, err := h.lab.bridge(h.addr.Masked())
	if err != nil {
		return fmt.Errorf("renew %s: %w", h.label, err)
	}
	errs := []error{
		h.containers.remove(),
		// The kernel deletes a namespace's devices some time after the namespace.
		h.lab.sw.ip("link", "delete", h.port()),
		h.lab.remove(h.name),
	}
	if _, err := h.lab.namespace(h.label); err != nil {
		return fmt.Errorf("renew %s: %w", h.label, errors.Join(append(errs, err)...))
	}
	errs = append(errs, h.join(bridge))
	if h.addr6.IsValid() {
		errs = append(errs, h.addIPv6(h.addr6))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("renew %s: %w", h.label, err)
	}
	return nil
}

// Move puts the host's uplink into another underlay subnet, with a new address
// and a default route there. Its other devices and their routes stay, except
// routes through the old address.
func (h *Host) Move(addr string) error {
	a, err := netip.ParsePrefix(addr)
	if err != nil {
		return fmt.Errorf("move %s: %w", h.label, err)
	}
	bridge, err := h.lab.bridge(a.Masked())
	if err != nil {
		return fmt.Errorf("move %s: %w", h.label, err)
	}
	old := h.addr
	h.addr = a
	if err := errors.Join(
		h.lab.sw.ip("link", "set", h.port(), "master", bridge),
		h.ipAll(
			[]string{"addr", "delete", old.String(), "dev", Uplink},
			[]string{"addr", "add", a.String(), "dev", Uplink},
			[]string{"route", "replace", "default", "via", h.Gateway().String()},
		)); err != nil {
		return fmt.Errorf("move %s to %s: %w", h.label, a, err)
	}
	return nil
}

// Name returns the name that the host was added with; empty for the switch.
func (h *Host) Name() string { return h.label }

// Addr returns the host's underlay address and prefix length; zero for the
// switch.
func (h *Host) Addr() netip.Prefix { return h.addr }

// Gateway returns the switch's address on the host's underlay subnet.
func (h *Host) Gateway() netip.Addr { return h.addr.Masked().Addr().Next() }

// Reboot leaves the host as a restart of the machine would: its containers are
// gone, and so are all devices whose names match one of the patterns (as in
// [path.Match]), and all routes and neighbours but those that a new host has.
// Files stay: they are the caller's. The caller ends the host's processes first:
// if one is left in a container, Reboot does the rest and returns an error.
func (h *Host) Reboot(patterns ...string) error {
	if h == h.lab.sw {
		return errors.New("reboot the switch: it is no host")
	}
	bridged := h.containers.bridge.IsValid()
	errs := []error{h.containers.remove()}
	if bridged {
		errs = append(errs, h.ip("link", "delete", Bridge))
	}
	links, err := h.links(patterns)
	errs = append(errs, err)
	for _, name := range links {
		errs = append(errs, h.ip("link", "delete", name))
	}
	errs = append(errs, h.ipAll(
		// A link that goes down loses its routes but keeps its IPv4 addresses;
		// flushing removes the routes without a link.
		[]string{"link", "set", Uplink, "down"},
		[]string{"route", "flush", "table", "main"},
		[]string{"-6", "route", "flush", "table", "main"},
		[]string{"neigh", "flush", "all", "nud", "all"},
		[]string{"link", "set", Uplink, "up"},
		[]string{"route", "add", "default", "via", h.Gateway().String()},
	))
	if h.addr6.IsValid() {
		errs = append(errs, h.addIPv6(h.addr6))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reboot %s: %w", h.label, err)
	}
	return nil
}

// links returns the names of the host's devices that match a pattern, but never
// lo or Uplink.
func (h *Host) links(patterns []string) ([]string, error) {
	listing, err := output("ip", "-n", h.name, "-json", "link", "show")
	if err != nil {
		return nil, err
	}
	var all []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal([]byte(listing), &all); err != nil {
		return nil, fmt.Errorf("parse links: %w", err)
	}
	var names []string
	for _, link := range all {
		if link.Name == "lo" || link.Name == Uplink {
			continue
		}
		for _, pattern := range patterns {
			match, err := path.Match(pattern, link.Name)
			if err != nil {
				return nil, fmt.Errorf("match pattern %q: %w", pattern, err)
			}
			if match {
				names = append(names, link.Name)
				break
			}
		}
	}
	return names, nil
}
