package netlab

import (
	"errors"
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

// containers is what is behind a host.
type containers struct {
	host   *Host
	bridge netip.Prefix // the address of the interface Bridge; zero: there is none
	named  map[string]*Container
}

func (cs *containers) add(name string, bridge netip.Prefix, mtu int) (*Container, error) {
	h := cs.host
	switch {
	case !validName.MatchString(name) || cs.named[name] != nil:
		return nil, errors.New("name is not usable or taken")
	case cs.bridge.IsValid() && cs.bridge != bridge:
		return nil, fmt.Errorf("%s has address %s", Bridge, cs.bridge)
	}
	addr := bridge.Addr().Next()
	for range cs.named {
		addr = addr.Next()
	}
	if !bridge.Contains(addr) {
		return nil, fmt.Errorf("no address left in %s", bridge)
	}
	if !cs.bridge.IsValid() {
		if err := h.ipAll(
			[]string{"link", "add", Bridge, "type", "bridge"},
			[]string{"link", "set", Bridge, "mtu", fmt.Sprint(mtu), "up"},
			[]string{"addr", "add", bridge.String(), "dev", Bridge},
		); err != nil {
			return nil, err
		}
		cs.bridge = bridge
	}
	ns, err := h.lab.namespace(h.label + "-" + name)
	if err != nil {
		return nil, err
	}
	c := &Container{Namespace: ns, host: h, nth: len(cs.named) + 1, addr: netip.PrefixFrom(addr, bridge.Bits())}
	cs.named[name] = c
	if err := plug(h.Namespace, "ve-"+name, Bridge, ns, mtu); err != nil {
		return nil, err
	}
	return c, c.ipAll(
		[]string{"addr", "add", c.addr.String(), "dev", Uplink},
		[]string{"route", "add", "default", "via", bridge.Addr().String()},
	)
}

// remove removes all containers. The interface Bridge is left to the host.
func (cs *containers) remove() error {
	var errs []error
	for _, c := range cs.named {
		errs = append(errs, cs.host.lab.remove(c.name))
	}
	clear(cs.named)
	cs.bridge = netip.Prefix{}
	return errors.Join(errs...)
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
