package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/netif"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// planes makes of all leases what the backend is to forward to: a plane per
// family. Leases that cannot be peers are left out, and each is complained
// about once. What this host itself is in (local) is never a peer's.
func planes(cfg config.Config, own subnet.Lease, leases []subnet.Lease, local []netip.Prefix, blackhole bool,
	c *complaints, log *slog.Logger) []backend.Plane {
	v4 := backend.Plane{Network: cfg.V4.Network, Subnet: own.V4.Subnet, Blackhole: blackhole}
	v6 := backend.Plane{Network: cfg.V6.Network, Subnet: own.V6.Subnet, Blackhole: blackhole}
	var peers4, peers6 []subnet.Lease
	publics := make(map[netip.Addr]subnet.Key, len(leases))
	for _, l := range leases {
		switch {
		case l.Key() == own.Key():
			continue
		case l.Type != own.Type:
			if c.first("type", l) {
				log.Warn(fmt.Sprintf("Ignoring non-%s subnet: type=%s", orUDP(own.Type), orUDP(l.Type)),
					"subnet", l.Key(), "PublicIP", l.V4.PublicIP, "hint", "hosts on different backends cannot talk to each other")
			}
			continue
		case l.V4.PublicIP == own.V4.PublicIP:
			if c.first("own", l) {
				log.Error("Another lease has this host's PublicIP: a second host publishes it, or it is a left-over. "+
					"Give each host its own with --public-ip or --iface", "subnet", l.Key(), "PublicIP", l.V4.PublicIP)
			}
			continue
		case l.Key().Overlaps(own.Key()):
			if c.first("overlap", l) {
				log.Error("Another host's lease overlaps this host's; ignoring it", "subnet", l.Key(), "PublicIP", l.V4.PublicIP)
			}
			continue
		}
		if other, twice := publics[l.V4.PublicIP]; twice && c.first("public", l) {
			log.Error("Two leases have one PublicIP: two hosts publish it, or one is a left-over",
				"PublicIP", l.V4.PublicIP, "subnet", l.Key(), "other", other)
		}
		publics[l.V4.PublicIP] = l.Key()
		add := func(to *[]subnet.Lease, network netip.Prefix, claim subnet.Claim) {
			if wrong := unusable(claim, network, local); wrong == "" {
				*to = append(*to, l)
			} else if c.first(wrong, l) {
				log.Error("Ignoring a lease: "+wrong, "subnet", claim.Subnet, "PublicIP", claim.PublicIP)
			}
		}
		add(&peers4, v4.Network, l.V4)
		switch {
		case !cfg.V6.Enabled() || l.V6.IsZero() || !l.V6.PublicIP.IsValid():
		case l.V6.PublicIP == own.V6.PublicIP:
			if c.first("own6", l) {
				log.Error("Another lease has this host's PublicIPv6: a second host publishes it, or it is a left-over. "+
					"Give each host its own with --public-ipv6 or --iface", "subnet", l.Key(), "PublicIPv6", l.V6.PublicIP)
			}
		default:
			add(&peers6, v6.Network, l.V6)
		}
	}
	overlay := make(leasedSubnets)
	for _, l := range append(peers4[:len(peers4):len(peers4)], own) {
		overlay.add(l.V4.Subnet)
	}
	for _, l := range append(peers6[:len(peers6):len(peers6)], own) {
		overlay.add(l.V6.Subnet)
	}
	inside := func(family func(subnet.Lease) subnet.Claim) func(subnet.Lease) bool {
		return func(l subnet.Lease) bool {
			in, ok := overlay.find(family(l).PublicIP)
			if ok && c.first("inside", l) {
				log.Error("Ignoring a lease: its PublicIP is an address in the overlay, and what is sent there would come round again. "+
					"Give that host another one, with --iface or --public-ip", "subnet", l.Key(), "PublicIP", family(l).PublicIP, "within", in)
			}
			return ok
		}
	}
	peers4, peers6 = slices.DeleteFunc(peers4, inside(v4Claim)), slices.DeleteFunc(peers6, inside(v6Claim))
	outdone := func(l subnet.Lease, why string) {
		if c.first(why, l) {
			log.Error("Ignoring a lease: "+why, "subnet", l.Key(), "PublicIP", l.V4.PublicIP)
		}
	}
	v4.Peers = withoutTwins(peers4, v4Claim, outdone)
	if !cfg.V6.Enabled() {
		return []backend.Plane{v4}
	}
	v6.Peers = withoutTwins(peers6, v6Claim, outdone)
	return []backend.Plane{v4, v6}
}

func v4Claim(l subnet.Lease) subnet.Claim { return l.V4 }
func v6Claim(l subnet.Lease) subnet.Claim { return l.V6 }

// leasedSubnets are those that the overlay leads to, by their lengths: there are
// hardly ever more than two, and thousands of subnets.
type leasedSubnets map[int]map[netip.Prefix]bool

func (s leasedSubnets) add(p netip.Prefix) {
	if s[p.Bits()] == nil {
		s[p.Bits()] = make(map[netip.Prefix]bool)
	}
	s[p.Bits()][p] = true
}

// find returns one that has the address.
func (s leasedSubnets) find(a netip.Addr) (netip.Prefix, bool) {
	for bits, subnets := range s {
		if p, err := a.Prefix(bits); err == nil && subnets[p] {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// unusable says why a claim cannot be forwarded to; empty if it can. Anybody who
// can write to the store could otherwise turn this host's own traffic away.
func unusable(c subnet.Claim, network netip.Prefix, local []netip.Prefix) string {
	switch ip := c.PublicIP; {
	case c.Subnet.Bits() < network.Bits() || !network.Contains(c.Subnet.Addr()):
		return "it is not within the Network " + network.String()
	case slices.ContainsFunc(local, c.Subnet.Overlaps):
		return "its subnet overlaps one that this host itself is in"
	case !ip.IsGlobalUnicast() && !ip.IsLinkLocalUnicast():
		return "its PublicIP is no host's address"
	}
	return ""
}

// localSubnets returns the subnets that an interface has addresses in. Those
// within the network are none to lease, which is said at the start and after a move.
func localSubnets(iface string, cfg config.Config, log *slog.Logger) ([]netip.Prefix, error) {
	local, err := netif.Subnets(iface)
	if err != nil {
		return nil, err
	}
	for _, p := range local {
		for _, n := range []netip.Prefix{cfg.V4.Network, cfg.V6.Network} {
			if n.IsValid() && n.Overlaps(p) {
				log.Warn("The Network overlaps a subnet that this host itself is in: containers cannot reach all of it, and what overlaps it is not leased",
					"network", n, "subnet", p, "interface", iface)
			}
		}
	}
	return local, nil
}

// orUDP names the type of a lease that has none.
func orUDP(typ string) string {
	if typ == "" {
		return "udp (or alloc)"
	}
	return typ
}

// complaints remembers what was logged about which lease. The zero value is
// ready to use.
type complaints struct{ made map[complaint]bool }

type complaint struct {
	what, typ string
	key       subnet.Key
	publicIP  netip.Addr
}

// maxComplaints bounds what is remembered.
const maxComplaints = 10000

// first reports whether this is the first complaint of its kind about the
// lease as it is.
func (c *complaints) first(what string, l subnet.Lease) bool {
	k := complaint{what, l.Type, l.Key(), l.V4.PublicIP}
	if c.made[k] {
		return false
	}
	if c.made == nil || len(c.made) >= maxComplaints {
		c.made = make(map[complaint]bool)
	}
	c.made[k] = true
	return true
}
