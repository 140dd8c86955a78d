package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netif"
)

var errNoLink = fmt.Errorf("no such link: %w", unix.ENODEV)

// links is what a reading of the link table gives.
type links struct {
	names map[int]string  // all links, by index
	owned map[int]string  // those of the scope
	state []datapath.Link // the same
}

func readLinks(scope datapath.Scope) (links, error) {
	all, err := listLinks()
	if err != nil {
		return links{}, fmt.Errorf("list links: %w", err)
	}
	l := links{names: make(map[int]string, len(all)), owned: make(map[int]string)}
	bridges := make(map[int]string)
	for _, link := range all {
		l.names[link.Attrs().Index] = link.Attrs().Name
		if _, ok := link.(*netlink.Bridge); ok {
			bridges[link.Attrs().Index] = link.Attrs().Name
		}
	}
	for _, link := range all {
		a := link.Attrs()
		if scope.OwnsLink(a.Name, a.Alias) {
			l.owned[a.Index] = a.Name
			state := toLink(link, l.names)
			state.Master = bridges[a.MasterIndex]
			l.state = append(l.state, state)
		}
	}
	return l, nil
}

func listLinks() ([]netlink.Link, error) { return undisturbed(netlink.LinkList) }

func linkByName(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, errNoLink
	}
	return link, err
}

func toLink(link netlink.Link, names map[int]string) datapath.Link {
	a := link.Attrs()
	l := datapath.Link{
		Name: a.Name, Kind: link.Type(), Alias: a.Alias,
		Up: a.Flags&net.FlagUp != 0, MTU: a.MTU,
	}
	copy(l.MAC[:], a.HardwareAddr)
	if t, ok := link.(*netlink.Tuntap); ok {
		l.Kind, l.TUN = readTUN(t)
	}
	if v, ok := link.(*netlink.Vxlan); ok {
		local, _ := netip.AddrFromSlice(v.SrcAddr)
		l.VXLAN = datapath.VXLAN{
			VNI: uint32(v.VxlanId), Parent: names[v.VtepDevIndex], Local: local.Unmap(),
			Port: uint16(v.Port), Learning: v.Learning, GBP: v.GBP,
			GPE: v.FlowBased && len(a.HardwareAddr) == 0, // which is what netlink's library does not tell
		}
		if v.FlowBased != l.VXLAN.GPE {
			l.Kind += " with an external control plane" // never wanted: re-made
		}
		if v.L2miss || v.L3miss || len(v.Group) > 0 {
			l.Kind += " with miss notifications or a group" // never wanted: re-made
		}
	}
	return l
}

func doLink(v datapath.Verb, l datapath.Link) error {
	switch v {
	case datapath.Delete:
		link, err := linkByName(l.Name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	case datapath.Make:
		if err := makeLink(l); err != nil {
			return err
		}
	}
	return setLink(l)
}

func makeLink(l datapath.Link) error {
	switch l.Kind {
	case "vxlan":
		if l.VXLAN.GPE {
			return explain(makeGPE(l), l)
		}
		return makeVXLAN(l)
	case "tun":
		return makeTUN(l)
	}
	return fmt.Errorf("cannot make a link of type %q", l.Kind)
}

func makeVXLAN(l datapath.Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.Name, l.MTU
	if !l.MAC.IsZero() {
		attrs.HardwareAddr = l.MAC[:]
	}
	dev := &netlink.Vxlan{
		LinkAttrs: attrs,
		VxlanId:   int(l.VXLAN.VNI), Port: int(l.VXLAN.Port),
		Learning: l.VXLAN.Learning, GBP: l.VXLAN.GBP,
	}
	if l.VXLAN.Local.IsValid() {
		dev.SrcAddr = l.VXLAN.Local.AsSlice()
	}
	if l.VXLAN.Parent != "" {
		parent, err := netlink.LinkByName(l.VXLAN.Parent)
		if err != nil {
			return fmt.Errorf("find underlay interface %s: %w", l.VXLAN.Parent, err)
		}
		dev.VtepDevIndex = parent.Attrs().Index
	}
	err := netlink.LinkAdd(dev)
	if errors.Is(err, unix.EEXIST) {
		if other := sameTunnel(l); other != "" {
			return fmt.Errorf("%w: interface %s has VNI %d on port %d already; delete it or choose another VNI",
				err, other, l.VXLAN.VNI, l.VXLAN.Port)
		}
		if _, other := linkByName(l.Name); errors.Is(other, errNoLink) {
			return fmt.Errorf("%w: an interface with VNI %d on port %d was made here and moved to another network namespace, as Docker does with those of overlay networks; "+
				"choose another VNI", err, l.VXLAN.VNI, l.VXLAN.Port)
		}
	}
	return explain(err, l)
}

// explain adds what to do about the kernel's refusal of a VXLAN link.
func explain(err error, l datapath.Link) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel has no VXLAN; load its module (modprobe vxlan; of a container, on its host)", err)
	case errors.Is(err, unix.EAFNOSUPPORT) && l.VXLAN.Local.Is6():
		return fmt.Errorf("%w: IPv6 is switched off on this host; start the kernel without ipv6.disable=1", err)
	case errors.Is(err, unix.EADDRINUSE):
		if other := netif.TunnelAt(int(l.VXLAN.Port)); other != "" {
			return fmt.Errorf("%w: interface %s has UDP port %d, with other options; delete it or choose another port", err, other, l.VXLAN.Port)
		}
		return fmt.Errorf("%w: UDP port %d is taken; see who has it (ss -lunp sport = :%[2]d), and end that or choose another port",
			err, l.VXLAN.Port)
	}
	return err
}

// sameTunnel names another VXLAN link that the kernel does not allow l beside.
func sameTunnel(l datapath.Link) string {
	all, err := listLinks()
	if err != nil {
		return ""
	}
	for _, link := range all {
		if other := toLink(link, nil); other.Name != l.Name && other.VXLAN.Excludes(l.VXLAN) {
			return other.Name
		}
	}
	return ""
}

// setLink changes what can be changed while the link is there, and only that
// which differs: setting a MAC that is there already would flush neighbours.
func setLink(want datapath.Link) error {
	link, err := linkByName(want.Name)
	if err != nil {
		return err
	}
	a := link.Attrs()
	if a.Alias != want.Alias {
		if err := netlink.LinkSetAlias(link, want.Alias); err != nil {
			return fmt.Errorf("set alias: %w", err)
		}
	}
	if a.MasterIndex != 0 { // but not out of a VRF, which an administrator may mean
		master, err := netlink.LinkByIndex(a.MasterIndex)
		if _, bridge := master.(*netlink.Bridge); err == nil && bridge {
			err = netlink.LinkSetNoMaster(link)
		}
		if err != nil {
			return fmt.Errorf("take out of its bridge: %w", err)
		}
	}
	if a.MTU != want.MTU {
		if err := netlink.LinkSetMTU(link, want.MTU); err != nil {
			return fmt.Errorf("set mtu %d: %w", want.MTU, err)
		}
	}
	if !want.MAC.IsZero() && string(a.HardwareAddr) != string(want.MAC[:]) {
		if err := netlink.LinkSetHardwareAddr(link, want.MAC[:]); err != nil {
			return fmt.Errorf("set address %s: %w", want.MAC, err)
		}
	}
	if up := a.Flags&net.FlagUp != 0; up != want.Up {
		if want.Up {
			err := netlink.LinkSetUp(link)
			if want.Kind == "vxlan" {
				err = explain(err, want)
			}
			return err
		}
		return netlink.LinkSetDown(link)
	}
	return nil
}
