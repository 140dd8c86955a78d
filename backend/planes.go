package backend

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/subnet"
)

// Members are this host and the others of the overlay.
type Members struct {
	V4, V6 netip.Prefix   // the networks; V6 is zero in an IPv4-only overlay
	Own    subnet.Lease   // this host's
	Leases []subnet.Lease // all, sorted; the own one may be among them
	Local  []netip.Prefix // subnets that this host itself is in, which can be no peer's

	Blackhole, Fenced bool // of all planes
}

// Fault is what is wrong with a lease of another host. Most such leases are no peers.
type Fault struct {
	Level slog.Level
	Text  string // for the log, with Attrs
	Attrs []any  // say which lease it is
}

// family is one address family of Members.
type family struct {
	network netip.Prefix
	own     subnet.Claim
	claim   func(subnet.Lease) subnet.Claim
	peers   []subnet.Lease
}

// Planes returns a plane per family with the leases that can be peers, and the faults
// of the others. Of two leases that exclude each other the one that was written later
// is a peer: whichever host that was, it was there then.
func Planes(m Members) (planes []Plane, faults []Fault) {
	families := []*family{
		{network: m.V4, own: m.Own.V4, claim: func(l subnet.Lease) subnet.Claim { return l.V4 }},
		{network: m.V6, own: m.Own.V6, claim: func(l subnet.Lease) subnet.Claim { return l.V6 }},
	}
	if !m.V6.IsValid() {
		families = families[:1]
	}
	add := func(f Fault) { faults = append(faults, f) }
	if !m.Fenced {
		m.sort(families, add)
		withoutLoops(families, add)
	}
	for _, f := range families {
		planes = append(planes, Plane{Network: f.network, Subnet: f.own.Subnet, Peers: f.claims(add),
			Blackhole: m.Blackhole, Fenced: m.Fenced})
	}
	return planes, faults
}

// sort puts each lease into the families in which it can be a peer by itself.
func (m Members) sort(families []*family, add func(Fault)) {
	publics := make(map[netip.Addr]subnet.Key, len(m.Leases))
	for _, l := range m.Leases {
		if l.Key() == m.Own.Key() {
			continue
		}
		if f := m.alien(l); f != nil {
			add(*f)
			continue
		}
		if other, twice := publics[l.V4.PublicIP]; twice {
			add(Fault{slog.LevelError, "Two leases have one PublicIP: two hosts publish it, or one is a left-over",
				[]any{"PublicIP", l.V4.PublicIP, "subnet", l.Key(), "other", other}})
		}
		publics[l.V4.PublicIP] = l.Key()
		for i, f := range families {
			c := f.claim(l)
			if i > 0 && (l.V6.IsZero() || !c.PublicIP.IsValid()) {
				continue // an IPv4-only host
			}
			if i > 0 && c.PublicIP == f.own.PublicIP {
				add(Fault{slog.LevelError, "Another lease has this host's PublicIPv6: a second host publishes it, or it is a left-over. " +
					"Give each host its own with --public-ipv6 or --iface", []any{"subnet", l.Key(), "PublicIPv6", c.PublicIP}})
				continue
			}
			if wrong := unusable(c, f.network, m.Local); wrong != "" {
				add(Fault{slog.LevelError, "Ignoring a lease: " + wrong, []any{"subnet", c.Subnet, "PublicIP", c.PublicIP}})
				continue
			}
			f.peers = append(f.peers, l)
		}
	}
}

// alien returns why a lease is no peer's in any family; nil: it may be one's.
func (m Members) alien(l subnet.Lease) *Fault {
	switch {
	case l.Type != m.Own.Type:
		return &Fault{slog.LevelWarn, fmt.Sprintf("Ignoring non-%s subnet: type=%s", orUDP(m.Own.Type), orUDP(l.Type)),
			[]any{"subnet", l.Key(), "PublicIP", l.V4.PublicIP, "hint", "hosts on different backends cannot talk to each other"}}
	case l.V4.PublicIP == m.Own.V4.PublicIP:
		return &Fault{slog.LevelError, "Another lease has this host's PublicIP: a second host publishes it, or it is a left-over. " +
			"Give each host its own with --public-ip or --iface", []any{"subnet", l.Key(), "PublicIP", l.V4.PublicIP}}
	case l.Key().Overlaps(m.Own.Key()):
		return &Fault{slog.LevelError, "Another host's lease overlaps this host's; ignoring it", []any{"subnet", l.Key(), "PublicIP", l.V4.PublicIP}}
	}
	return nil
}

// orUDP names the type of a lease that has none.
func orUDP(typ string) string {
	if typ == "" {
		return "udp (or alloc)"
	}
	return typ
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

// withoutLoops removes peers whose PublicIP the overlay itself leads to. Leased
// subnets are looked up by their length: there are hardly ever more than two.
func withoutLoops(families []*family, add func(Fault)) {
	leased := make(map[int]map[netip.Prefix]bool)
	for _, f := range families {
		note := func(p netip.Prefix) {
			if leased[p.Bits()] == nil {
				leased[p.Bits()] = make(map[netip.Prefix]bool)
			}
			leased[p.Bits()][p] = true
		}
		note(f.own.Subnet)
		for _, l := range f.peers {
			note(f.claim(l).Subnet)
		}
	}
	for _, f := range families {
		f.peers = slices.DeleteFunc(f.peers, func(l subnet.Lease) bool {
			at := f.claim(l).PublicIP
			for bits, subnets := range leased {
				if p, err := at.Prefix(bits); err == nil && subnets[p] {
					add(Fault{slog.LevelError, "Ignoring a lease: its PublicIP is an address in the overlay, and what is sent there would come round again. " +
						"Give that host another one, with --iface or --public-ip", []any{"subnet", l.Key(), "PublicIP", at, "within", p}})
					return true
				}
			}
			return false
		})
	}
}

// claims returns the peers' claims but those that the kernel has no room for beside a
// later one: of the same subnet, or with the same tunnel endpoint on another host. A
// backend that publishes Data names its endpoint there.
func (f *family) claims(add func(Fault)) []subnet.Claim {
	subnets := make(map[netip.Addr]subnet.Lease, len(f.peers)) // by the first address, which is the gateway of a tunnel
	endpoints := make(map[string]subnet.Lease, len(f.peers))
	for _, l := range f.peers {
		c := f.claim(l)
		if last, ok := subnets[c.Subnet.Addr()]; !ok || l.Rev > last.Rev {
			subnets[c.Subnet.Addr()] = l
		}
		if last, ok := endpoints[c.Data]; f.own.Data != "" && c.Data != "" && (!ok || l.Rev > last.Rev) {
			endpoints[c.Data] = l
		}
	}
	claims := make([]subnet.Claim, 0, len(f.peers))
	for _, l := range f.peers {
		c, why := f.claim(l), ""
		if last, ok := endpoints[c.Data]; ok && f.claim(last).PublicIP != c.PublicIP {
			why = "another one has its tunnel endpoint at another PublicIP and was written later: " +
				"is it a left-over, or was a machine cloned with its state directory?"
		}
		if subnets[c.Subnet.Addr()].Key() != l.Key() {
			why = "another one of that subnet was written later"
		}
		if why != "" {
			add(Fault{slog.LevelError, "Ignoring a lease: " + why, []any{"subnet", l.Key(), "PublicIP", l.V4.PublicIP}})
			continue
		}
		claims = append(claims, c)
	}
	return claims
}
