package fake

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// link returns the named link, valid until the table changes; nil if there is
// none.
func (k *Kernel) link(name string) *datapath.Link {
	for i := range k.state.Links {
		if k.state.Links[i].Name == name {
			return &k.state.Links[i]
		}
	}
	return nil
}

// LinkMTU returns the MTU of a link, whosever it is.
func (k *Kernel) LinkMTU(_ context.Context, name string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.link(name)
	if l == nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, errNoLink)
	}
	return l.MTU, nil
}

func (k *Kernel) newMAC() datapath.MAC {
	k.made++
	return datapath.MAC{0x02, 0xfa, 0, 0, byte(k.made >> 8), byte(k.made)}
}

func (k *Kernel) doLink(v datapath.Verb, l datapath.Link) error {
	switch v {
	case datapath.Delete:
		k.deleteLink(l.Name)
		return nil
	case datapath.Make:
		if err := k.makeLink(l); err != nil {
			return err
		}
	}
	return k.setLink(l)
}

func (k *Kernel) makeLink(l datapath.Link) error {
	switch {
	case l.Kind != "vxlan" && l.Kind != "tun":
		return fmt.Errorf("cannot make a link of type %q", l.Kind)
	case k.link(l.Name) != nil:
		return unix.EEXIST
	case l.Kind == "tun" && !l.MAC.IsZero():
		return unix.EOPNOTSUPP
	case l.Name == "" || len(l.Name) >= unix.IFNAMSIZ, l.VXLAN.VNI >= 1<<24:
		return unix.ERANGE
	case !l.MAC.IsZero() && !l.MAC.Unicast():
		return unix.EADDRNOTAVAIL
	case l.VXLAN.Parent != "" && k.link(l.VXLAN.Parent) == nil:
		return fmt.Errorf("find underlay interface %s: %w", l.VXLAN.Parent, errNoLink)
	}
	for _, other := range k.state.Links {
		if other.VXLAN.Excludes(l.VXLAN) {
			return fmt.Errorf("%w: interface %s has VNI %d on port %d already; delete it or choose another VNI",
				unix.EEXIST, other.Name, l.VXLAN.VNI, l.VXLAN.Port)
		}
	}
	l.Up = false
	if l.MAC.IsZero() && l.Kind != "tun" {
		l.MAC = k.newMAC()
	}
	k.state.Links = append(k.state.Links, l)
	return nil
}

// carries reports whether a tunnel's packets of that size fit into its parent's.
func (k *Kernel) carries(v datapath.VXLAN, mtu int) bool {
	parent := k.link(v.Parent)
	headers := 50
	if v.Local.Is6() {
		headers = 70
	}
	return parent == nil || mtu+headers <= parent.MTU
}

func (k *Kernel) setLink(want datapath.Link) error {
	l := k.link(want.Name)
	switch {
	case l == nil:
		return errNoLink
	case want.MTU < 68, !k.carries(l.VXLAN, want.MTU):
		return unix.EINVAL
	case !want.MAC.IsZero() && l.Kind == "tun":
		return unix.EOPNOTSUPP
	case !want.MAC.IsZero() && !want.MAC.Unicast():
		return unix.EADDRNOTAVAIL
	}
	l.Alias, l.MTU = want.Alias, want.MTU
	if !want.MAC.IsZero() && want.MAC != l.MAC {
		l.MAC = want.MAC
		k.flushNeighs(l.Name)
	}
	k.setUp(l, want.Up)
	return nil
}

// setUp does to what hangs on the link what the kernel does: routes and
// neighbours go when it goes down, and IPv6 addresses too (the default of
// net.ipv6.conf.*.keep_addr_on_down); forwarding entries stay.
func (k *Kernel) setUp(l *datapath.Link, up bool) {
	if l.Up && !up {
		name := l.Name
		k.flushNeighs(name)
		k.state.Routes = keep(k.state.Routes, func(r datapath.Route) bool { return r.Link != name })
		k.state.Addrs = keep(k.state.Addrs, func(a datapath.Addr) bool { return a.Link != name || a.Prefix.Addr().Is4() })
	}
	l.Up = up
	for _, a := range k.state.Addrs {
		if a.Link == l.Name {
			k.connect(a)
		}
	}
}

func (k *Kernel) flushNeighs(link string) {
	k.state.Neighs = keep(k.state.Neighs, func(n datapath.Neigh) bool { return n.Link != link })
}

// deleteLink takes along all that hangs on the link, and the tunnels it
// carries.
func (k *Kernel) deleteLink(name string) {
	if k.link(name) == nil {
		return
	}
	k.flushNeighs(name)
	k.state.Addrs = keep(k.state.Addrs, func(a datapath.Addr) bool { return a.Link != name })
	k.state.FDB = keep(k.state.FDB, func(e datapath.FDBEntry) bool { return e.Link != name })
	k.state.Routes = keep(k.state.Routes, func(r datapath.Route) bool { return r.Link != name })
	k.state.Links = keep(k.state.Links, func(l datapath.Link) bool { return l.Name != name })
	for _, l := range keep(k.state.Links, func(l datapath.Link) bool { return l.VXLAN.Parent == name }) {
		k.deleteLink(l.Name)
	}
}
