// Package datapath brings a part of the kernel's network configuration to a
// wanted state: it compares what is wanted with what is there and has the
// difference carried out. It decides what differs and in which order that is
// mended; it does not know why anything is wanted, nor how the kernel is asked
// (see the packages kernel and fake).
package datapath

import (
	"context"
	"net/netip"
	"slices"
)

// State is a part of a host's network configuration. Every object is a
// comparable struct and names all of its fields, so that == tells whether the
// kernel has what is wanted.
type State struct {
	Links   []Link
	Addrs   []Addr
	FDB     []FDBEntry
	Neighs  []Neigh
	Routes  []Route
	Filters []Filter
}

// Link is a virtual network interface that we make.
type Link struct {
	Name  string
	Kind  string // as `ip link` calls it: "vxlan", "tun"
	Alias string // who it belongs to, see Scope.Owner
	Up    bool
	MTU   int // bytes
	MAC   MAC
	// Master is the bridge that somebody has put the link into, which then takes its
	// packets; never wanted.
	Master string
	VXLAN  VXLAN // if Kind is "vxlan"
	TUN    TUN   // if Kind is "tun"
}

// VXLAN is what cannot be changed in a VXLAN device once it is made.
type VXLAN struct {
	VNI      uint32     // 24 bits
	Parent   string     // name of the interface that carries it; empty: none
	Local    netip.Addr // source address of the tunnel
	Port     uint16     // UDP destination port
	Learning bool       // learn forwarding entries from received frames
	GBP      bool       // group policy extension
	// GPE: the device takes packets of any VNI, with no Ethernet header (external, and the
	// generic protocol extension). It has no MAC.
	GPE bool
}

// Excludes reports whether links with v and o cannot both be there: the kernel could
// not tell which one a packet is for. The zero VXLAN excludes none.
func (v VXLAN) Excludes(o VXLAN) bool {
	return v != (VXLAN{}) && v.VNI == o.VNI && v.Port == o.Port && v.Local.Is6() == o.Local.Is6()
}

// TUN is what cannot be changed in a TUN device while a process has it. The
// device is persistent: it is there whether or not a process has it. It has no
// MAC, and each packet comes without the four bytes of protocol information.
type TUN struct {
	VnetHdr    bool // a struct virtio_net_hdr is before each packet
	MultiQueue bool // several queues can be attached
}

// Addr is an address of an interface.
type Addr struct {
	Link   string
	Prefix netip.Prefix // the address itself, not masked, and its length
}

// FDBEntry says behind which tunnel endpoint a MAC address is found.
type FDBEntry struct {
	Link string
	MAC  MAC
	Dst  netip.Addr
}

// Neigh is a permanent neighbour entry.
type Neigh struct {
	Link string
	IP   netip.Addr
	MAC  MAC
}

// Route is a route of the main table.
type Route struct {
	Dst      netip.Prefix // masked
	Type     RouteType
	Gateway  netip.Addr // invalid: none
	Link     string     // empty: none (a blackhole)
	OnLink   bool       // the gateway is on the link whatever the kernel thinks
	Metric   uint32
	Protocol uint8 // who made it, see rtnetlink(7)

	// Level is the route's scope as in rtnetlink(7), less than 200, of a route by an IPv4
	// gateway. It makes no difference to packets, and is not read. See spread.
	Level uint8

	// Foreign is set on a route that was read and is not ours: it is replaced
	// when one of ours has its place and is never removed.
	Foreign bool
}

// ProtocolKernel is the protocol of the routes that the kernel makes for the
// subnets of an interface's addresses (RTPROT_KERNEL of rtnetlink(7)).
const ProtocolKernel = 2

// Connected reports whether the route is to a subnet that somebody else's
// interface has an address in. It is never replaced, though the kernel would do
// so: nothing would bring it back, and all that is in the subnet, this host's
// own containers or the underlay, would be cut off.
func (r Route) Connected() bool { return r.Foreign && r.Protocol == ProtocolKernel }

// RouteType says what a route does with a packet.
type RouteType uint8

// Route types that we make.
const (
	Unicast RouteType = iota
	Blackhole
	OtherType // read from the kernel, never wanted
)

// Scope says which part of the kernel's state is ours. What lies outside it
// is neither read nor changed.
//
// A link is ours if its name is in Links or its alias is Owner, and with it all
// that hangs on it except what the kernel adds by itself. On other links only
// routes can be ours: those to a destination within Networks that carry
// Protocol, and filters that are named Owner. Other routes within Networks are read as Foreign.
type Scope struct {
	Owner    string
	Links    []string
	Networks []netip.Prefix
	Protocol uint8
}

// OwnsLink reports whether the link and all that hangs on it are ours.
func (s Scope) OwnsLink(name, alias string) bool {
	return slices.Contains(s.Links, name) || s.Owner != "" && alias == s.Owner
}

// InNetworks reports whether a destination lies within one of the networks.
func (s Scope) InNetworks(p netip.Prefix) bool {
	for _, n := range s.Networks {
		if n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Route returns r as the scope sees it, and whether it covers r at all.
// linkOwned says whether OwnsLink holds for r's link.
func (s Scope) Route(r Route, linkOwned bool) (Route, bool) {
	if linkOwned && r.Protocol == ProtocolKernel {
		return r, false // comes and goes with the link's addresses
	}
	inside := s.InNetworks(r.Dst)
	r.Foreign = !linkOwned && !(inside && r.Protocol == s.Protocol)
	return r, linkOwned || inside
}

// Kernel reads and changes network configuration.
type Kernel interface {
	// Read returns what the scope covers, in no order.
	Read(ctx context.Context, s Scope) (State, error)

	// Do carries out the operations in order. One that fails does not stop the
	// others; the error joins one *OpError per failure. To delete what is gone
	// already is no failure.
	Do(ctx context.Context, ops []Op) error
}

// NextHop is where a host sends a packet first. The zero NextHop means that it
// does not send it.
type NextHop struct {
	Link    string
	Gateway netip.Addr // invalid: none, the destination is itself on the link
}
