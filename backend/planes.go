package backend

import (
	"cmp"
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

	Blackhole, Fenced, Partial bool // of all planes
}

// Fault is what is wrong with a lease of another host. Most such leases are no peers.
type Fault struct {
	Level slog.Level
	Text  string // for the log, with Attrs
	Attrs []any  // say which lease it is
}

// Planes returns a plane per family, IPv4 first, with the leases that can be peers, and
// the faults of the others. Of two leases that exclude each other the one that was
// written later is a peer: whichever host that was, it was there then.
func Planes(m Members) (planes []Plane, faults []Fault) {
	s := sorter{Members: m, families: []family{{network: m.V4, own: m.Own.V4}}}
	if m.V6.IsValid() {
		s.families = append(s.families, family{network: m.V6, own: m.Own.V6})
	}
	if !m.Fenced {
		s.sort()
		s.withoutLoops()
	}
	for _, f := range s.families {
		planes = append(planes, Plane{Network: f.network, Subnet: f.own.Subnet, Peers: s.latest(f),
			Blackhole: m.Blackhole, Fenced: m.Fenced, Partial: m.Partial})
	}
	return planes, s.faults
}

// sorter sorts leases into those that can be peers and those with faults.
type sorter struct {
	Members
	families []family
	faults   []Fault
}

// family is one address family of Members.
type family struct {
	network netip.Prefix
	own     subnet.Claim
	peers   []peer
}

// peer is a lease, and what it claims in a family.
type peer struct {
	subnet.Claim
	lease *subnet.Lease
}

func (s *sorter) fault(text string, attrs ...any) {
	s.faults = append(s.faults, Fault{slog.LevelError, text, attrs})
}

// sort puts each lease into the families in which it can be a peer by itself.
func (s *sorter) sort() {
	publics := make(map[netip.Addr]subnet.Key, len(s.Leases))
	for i := range s.Leases {
		l := &s.Leases[i]
		if l.Key() == s.Own.Key() || s.isAlien(l) {
			continue
		}
		if other, twice := publics[l.V4.PublicIP]; twice {
			s.fault("Two leases have one PublicIP: two hosts publish it, or one is a left-over",
				"PublicIP", l.V4.PublicIP, "subnet", l.Key(), "other", other)
		}
		publics[l.V4.PublicIP] = l.Key()
		s.place(&s.families[0], peer{l.V4, l})
		switch {
		case len(s.families) == 1 || !l.V6.PublicIP.IsValid(): // an IPv4-only host
		case l.V6.PublicIP == s.Own.V6.PublicIP:
			s.fault("Another lease has this host's PublicIPv6: a second host publishes it, or it is a left-over. "+
				"Give each host its own with --public-ipv6 or --iface", "subnet", l.Key(), "PublicIPv6", l.V6.PublicIP)
		default:
			s.place(&s.families[1], peer{l.V6, l})
		}
	}
}

// isAlien reports whether a lease is no peer's in any family.
func (s *sorter) isAlien(l *subnet.Lease) bool {
	switch {
	case l.Type != s.Own.Type:
		s.faults = append(s.faults, Fault{slog.LevelWarn, fmt.Sprintf("Ignoring non-%s subnet: type=%s", orUDP(s.Own.Type), orUDP(l.Type)),
			[]any{"subnet", l.Key(), "PublicIP", l.V4.PublicIP, "hint", "hosts on different backends cannot talk to each other"}})
	case l.V4.PublicIP == s.Own.V4.PublicIP:
		s.fault("Another lease has this host's PublicIP: a second host publishes it, or it is a left-over. "+
			"Give each host its own with --public-ip or --iface", "subnet", l.Key(), "PublicIP", l.V4.PublicIP)
	case l.Key().Overlaps(s.Own.Key()):
		s.fault("Another host's lease overlaps this host's; ignoring it", "subnet", l.Key(), "PublicIP", l.V4.PublicIP)
	default:
		return false
	}
	return true
}

// orUDP names the type of a lease that has none.
func orUDP(typ string) string { return cmp.Or(typ, "udp (or alloc)") }

// place makes a lease a peer in a family, if it can be forwarded to. Anybody who can
// write to the store could otherwise turn this host's own traffic away.
func (s *sorter) place(f *family, p peer) {
	wrong := ""
	switch {
	case p.Subnet.Bits() < f.network.Bits() || !f.network.Contains(p.Subnet.Addr()):
		wrong = "it is not within the Network " + f.network.String()
	case slices.ContainsFunc(s.Local, p.Subnet.Overlaps):
		wrong = "its subnet overlaps one that this host itself is in"
	case !p.PublicIP.IsGlobalUnicast() && !p.PublicIP.IsLinkLocalUnicast():
		wrong = "its PublicIP is no host's address"
	default:
		f.peers = append(f.peers, p)
		return
	}
	s.fault("Ignoring a lease: "+wrong, "subnet", p.Subnet, "PublicIP", p.PublicIP)
}

// withoutLoops removes peers whose PublicIP the overlay itself leads to. Leased
// subnets are looked up by their length: there are hardly ever more than two.
func (s *sorter) withoutLoops() {
	leased, lengths := make(map[netip.Prefix]bool), make(map[int]bool)
	for _, f := range s.families {
		leased[f.own.Subnet], lengths[f.own.Subnet.Bits()] = true, true
		for _, p := range f.peers {
			leased[p.Subnet], lengths[p.Subnet.Bits()] = true, true
		}
	}
	for i := range s.families {
		f := &s.families[i]
		f.peers = slices.DeleteFunc(f.peers, func(p peer) bool {
			for bits := range lengths {
				if within, err := p.PublicIP.Prefix(bits); err == nil && leased[within] {
					s.fault("Ignoring a lease: its PublicIP is an address in the overlay, and what is sent there would come round again. "+
						"Give that host another one, with --iface or --public-ip", "subnet", p.lease.Key(), "PublicIP", p.PublicIP, "within", within)
					return true
				}
			}
			return false
		})
	}
}

// latest returns the claims of a family's peers but those that the kernel has no room
// for beside a later one: of the same subnet, or with the same tunnel endpoint on
// another host. A backend that publishes Data names its endpoint there.
func (s *sorter) latest(f family) []subnet.Claim {
	subnets := make(map[netip.Addr]peer, len(f.peers)) // by the first address, which is the gateway of a tunnel
	endpoints := make(map[string]peer, len(f.peers))
	for _, p := range f.peers {
		if last, ok := subnets[p.Subnet.Addr()]; !ok || p.lease.Rev > last.lease.Rev {
			subnets[p.Subnet.Addr()] = p
		}
		if last, ok := endpoints[p.Data]; f.own.Data != "" && p.Data != "" && (!ok || p.lease.Rev > last.lease.Rev) {
			endpoints[p.Data] = p
		}
	}
	claims := make([]subnet.Claim, 0, len(f.peers))
	for _, p := range f.peers {
		last, ok := endpoints[p.Data]
		why := ""
		switch {
		case subnets[p.Subnet.Addr()].lease != p.lease:
			why = "another one of that subnet was written later"
		case ok && last.PublicIP != p.PublicIP:
			why = "another one has its tunnel endpoint at another PublicIP and was written later: " +
				"is it a left-over, or was a machine cloned with its state directory?"
		default:
			claims = append(claims, p.Claim)
			continue
		}
		s.fault("Ignoring a lease: "+why, "subnet", p.lease.Key(), "PublicIP", p.lease.V4.PublicIP)
	}
	return claims
}
