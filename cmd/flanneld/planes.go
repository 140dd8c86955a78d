package main

import (
	"fmt"
	"log/slog"
	"net/netip"

	"flanneld/backend"
	"flanneld/subnet"
)

// planes makes of all leases what the backend is to forward to: a plane per
// family. Leases that cannot be peers are left out, and each is complained
// about once.
func planes(cfg subnet.Config, own subnet.Lease, leases []subnet.Lease, blackhole bool, c *complaints, log *slog.Logger) []backend.Plane {
	v4 := backend.Plane{Network: cfg.V4.Network, Subnet: own.V4.Subnet, Blackhole: blackhole}
	v6 := backend.Plane{Network: cfg.V6.Network, Subnet: own.V6.Subnet, Blackhole: blackhole}
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
		v4.Peers = append(v4.Peers, l.V4)
		if cfg.V6.Enabled() && !l.V6.IsZero() && l.V6.PublicIP.IsValid() {
			v6.Peers = append(v6.Peers, l.V6)
		}
	}
	if !cfg.V6.Enabled() {
		return []backend.Plane{v4}
	}
	return []backend.Plane{v4, v6}
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
