package fake

import (
	"fmt"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// find returns the named link, valid until the table changes; nil if there is
// none.
func find(links []datapath.Link, name string) *datapath.Link {
	for i := range links {
		if links[i].Name == name {
			return &links[i]
		}
	}
	return nil
}

func (t *tables) newMAC() datapath.MAC {
	t.made++
	return datapath.MAC{0x02, 0xfa, 0, 0, byte(t.made >> 8), byte(t.made)}
}

func (t *tables) doLink(v datapath.Verb, l datapath.Link) error {
	switch v {
	case datapath.Delete:
		t.deleteLink(l.Name)
		return nil
	case datapath.Make:
		if err := t.makeLink(l); err != nil {
			return err
		}
	}
	return t.setLink(l)
}

func (t *tables) makeLink(l datapath.Link) error {
	switch {
	case l.Kind != "vxlan" && l.Kind != "tun":
		return fmt.Errorf("cannot make a link of type %q", l.Kind)
	case find(t.Links, l.Name) != nil:
		return unix.EEXIST
	case l.Kind == "tun" && !l.MAC.IsZero():
		return unix.EOPNOTSUPP
	case l.Name == "" || len(l.Name) >= unix.IFNAMSIZ, l.VXLAN.VNI >= 1<<24:
		return unix.ERANGE
	case !l.MAC.IsZero() && !l.MAC.Unicast():
		return unix.EADDRNOTAVAIL
	case l.VXLAN.Parent != "" && find(t.Links, l.VXLAN.Parent) == nil:
		return fmt.Errorf("find underlay interface %s: %w", l.VXLAN.Parent, errNoLink)
	}
	for _, other := range t.Links {
		if other.VXLAN.Excludes(l.VXLAN) {
			return fmt.Errorf("%w: interface %s has VNI %d on port %d already; delete it or choose another VNI",
				unix.EEXIST, other.Name, l.VXLAN.VNI, l.VXLAN.Port)
		}
	}
	l.Up = false
	if l.MAC.IsZero() && l.Kind != "tun" && !l.VXLAN.GPE {
		l.MAC = t.newMAC()
	}
	t.Links = append(t.Links, l)
	return nil
}

// carries reports whether a tunnel's packets of that size fit into its parent's.
func (t *tables) carries(v datapath.VXLAN, mtu int) bool {
	parent := find(t.Links, v.Parent)
	headers := 50
	if v.Local.Is6() {
		headers = 70
	}
	return parent == nil || mtu+headers <= parent.MTU
}

func (t *tables) setLink(want datapath.Link) error {
	l := find(t.Links, want.Name)
	switch {
	case l == nil:
		return errNoLink
	case want.MTU < 68, !t.carries(l.VXLAN, want.MTU):
		return unix.EINVAL
	case !want.MAC.IsZero() && l.Kind == "tun":
		return unix.EOPNOTSUPP
	case !want.MAC.IsZero() && !want.MAC.Unicast():
		return unix.EADDRNOTAVAIL
	}
	l.Alias, l.MTU = want.Alias, want.MTU
	if !want.MAC.IsZero() && want.MAC != l.MAC {
		l.MAC = want.MAC
		t.flushNeighs(l.Name)
	}
	t.setUp(l, want.Up)
	return nil
}

// setUp does to what hangs on the link what the kernel does: routes and
// neighbours go when it goes down, and IPv6 addresses too (the default of
// net.ipv6.conf.*.keep_addr_on_down); forwarding entries stay.
func (t *tables) setUp(l *datapath.Link, up bool) {
	if l.Up && !up {
		name := l.Name
		t.flushNeighs(name)
		t.Routes = keep(t.Routes, func(r datapath.Route) bool { return r.Link != name })
		t.Addrs = keep(t.Addrs, func(a datapath.Addr) bool { return a.Link != name || a.Prefix.Addr().Is4() })
	}
	l.Up = up
	for _, a := range t.Addrs {
		if a.Link == l.Name {
			t.connect(a)
		}
	}
}

func (t *tables) flushNeighs(link string) {
	t.Neighs = keep(t.Neighs, func(n datapath.Neigh) bool { return n.Link != link })
}

// deleteLink takes along all that hangs on the link, and the tunnels it
// carries.
func (t *tables) deleteLink(name string) {
	if find(t.Links, name) == nil {
		return
	}
	t.flushNeighs(name)
	t.Addrs = keep(t.Addrs, func(a datapath.Addr) bool { return a.Link != name })
	t.FDB = keep(t.FDB, func(e datapath.FDBEntry) bool { return e.Link != name })
	t.Routes = keep(t.Routes, func(r datapath.Route) bool { return r.Link != name })
	t.Filters = keep(t.Filters, func(f datapath.Filter) bool { return f.Link != name })
	t.Links = keep(t.Links, func(l datapath.Link) bool { return l.Name != name })
	for _, l := range keep(t.Links, func(l datapath.Link) bool { return l.VXLAN.Parent == name }) {
		t.deleteLink(l.Name)
	}
}
