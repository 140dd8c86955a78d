package backend

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"flanneld/pkg/words"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// Members are this host and the others of the overlay.
type Members struct {
	V4, V6 config.Range   // what leases are taken from; V6 is zero in an IPv4-only overlay
	Own    subnet.Lease   // this host's
	Leases []subnet.Lease // all, sorted; the own one may be among them
	Local  []netip.Prefix // subnets of the external interface, which can be no peer's
	Needed []Needed       // what else can be no peer's
	Before []Plane        // what was returned last; nil: nothing

	Blackhole, Fenced, Partial bool // of all planes
}

// Needed is a subnet that this host reaches, or an address, without the overlay.
type Needed struct {
	Prefix netip.Prefix
	What   string // it is, as in "etcd's address"
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
	s := sorter{Members: m, families: []family{{pool: m.V4, own: m.Own.V4}}}
	if m.V6.Enabled() {
		s.families = append(s.families, family{pool: m.V6, own: m.Own.V6})
	}
	if !m.Fenced {
		s.sort()
		for i := range s.families {
			s.withoutLoops(&s.families[i])
		}
	}
	needed := slices.Clone(m.Local)
	for _, n := range m.Needed {
		needed = append(needed, n.Prefix)
	}
	for _, f := range s.families {
		planes = append(planes, Plane{Network: f.pool.Network, Subnet: f.own.Subnet, Peers: s.latest(f),
			Blackhole: m.Blackhole, Fenced: m.Fenced, Partial: m.Partial, Needed: needed})
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
	pool  config.Range
	own   subnet.Claim
	peers []peer
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
		s.faults = append(s.faults, Fault{slog.LevelWarn, fmt.Sprintf("Ignoring non-%s subnet: type=%s", orUDP(s.Own.Type), orUDP(words.Clip(l.Type))),
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
	network := f.pool.Network
	switch needed := slices.IndexFunc(s.Needed, func(n Needed) bool { return n.Prefix.Overlaps(p.Subnet) }); {
	case p.Subnet.Bits() < network.Bits() || !network.Contains(p.Subnet.Addr()):
		wrong = "it is not within the Network " + network.String()
	case slices.ContainsFunc(s.Local, p.Subnet.Overlaps):
		wrong = "its subnet overlaps one that this host itself is in"
	case needed >= 0:
		n := s.Needed[needed]
		remedy := "let SubnetMin and SubnetMax leave that out"
		if n.Prefix == p.Subnet { // as Docker's bridge has it after this host got another subnet
			remedy = "if it was this host's before, restart Docker with what the subnet file says now; else " + remedy
		}
		wrong = fmt.Sprintf("its subnet covers what this host reaches without the overlay, %s (%s); %s", n.What, n.Prefix, remedy)
	case !f.pool.Contains(p.Subnet):
		wrong = fmt.Sprintf("the configuration leases nothing but a /%d from %s to %s; restart that host's daemon, or delete the lease",
			f.pool.SubnetLen, f.pool.Min, f.pool.Max)
	case !isHost(p.PublicIP) || slices.ContainsFunc(s.Local, func(l netip.Prefix) bool { return isEdge(l, p.PublicIP) }):
		wrong = "its PublicIP is no host's address"
	default:
		f.peers = append(f.peers, p)
		return
	}
	s.fault("Ignoring a lease: "+wrong, "subnet", p.Subnet, "PublicIP", p.PublicIP)
}

// isHost reports whether an address can be a host's. Class E (RFC 1112) has never been
// given out, and the kernel sends nothing to 0.0.0.0/8 (RFC 1122).
func isHost(a netip.Addr) bool {
	if a.Is4() && (a.As4()[0] >= 240 || a.As4()[0] == 0) {
		return false
	}
	return a.IsGlobalUnicast() || a.Is6() && a.IsLinkLocalUnicast()
}

// isEdge reports whether an address is the first of a subnet, which is the subnet's own,
// or the last, to which the kernel broadcasts. Of a subnet of two there is neither
// (RFC 3021), and in IPv6 there is no broadcast.
func isEdge(p netip.Prefix, a netip.Addr) bool {
	if !a.Is4() || p.Bits() >= 31 || !p.Contains(a) {
		return false
	}
	return a == p.Masked().Addr() || !p.Contains(a.Next())
}

// loop is a lease whose PublicIP lies in the subnet of another, or in its own: what is
// sent there would come out of the overlay and go in again.
type loop struct{ inner, outer *subnet.Lease }

// loops returns those of a family's peers, whose subnets all have one length. The own
// lease is a subnet only.
func (s *sorter) loops(f *family) (all []loop) {
	leased := make(map[netip.Prefix]*subnet.Lease, len(f.peers))
	for _, p := range f.peers {
		leased[p.Subnet] = p.lease
	}
	for _, p := range f.peers {
		within, _ := p.PublicIP.Prefix(f.pool.SubnetLen)
		outer := leased[within]
		if f.own.Subnet.Contains(p.PublicIP) {
			outer = &s.Own
		}
		if outer != nil {
			all = append(all, loop{p.lease, outer})
		}
	}
	return all
}

// withoutLoops removes one peer of each loop: what was none before rather than what was
// one, so that a newcomer takes nobody's place, then what has more loops, then what was
// written later.
func (s *sorter) withoutLoops(f *family) {
	loops := s.loops(f)
	if len(loops) == 0 {
		return
	}
	of := make(map[*subnet.Lease][]loop)
	for _, l := range loops {
		of[l.inner], of[l.outer] = append(of[l.inner], l), append(of[l.outer], l)
	}
	delete(of, &s.Own)
	before := make(map[subnet.Claim]int)
	for _, plane := range s.Before {
		for _, c := range plane.Peers {
			before[c] = 1
		}
	}
	worst := slices.SortedFunc(maps.Keys(of), func(a, b *subnet.Lease) int {
		return cmp.Or(before[a.V4]-before[b.V4], len(of[b])-len(of[a]), cmp.Compare(b.Rev, a.Rev), b.Compare(*a))
	})
	out := make(map[*subnet.Lease]bool)
	for _, l := range worst {
		i := slices.IndexFunc(of[l], func(c loop) bool { return !out[c.inner] && !out[c.outer] })
		if i < 0 {
			continue
		}
		out[l] = true
		if c := of[l][i]; c.inner == l {
			s.fault("Ignoring a lease: its PublicIP is an address in the overlay, and packets to it would loop. "+
				"Give that host another one, with --iface or --public-ip", "subnet", l.Key(), "PublicIP", l.V4.PublicIP, "within", c.outer.Key())
		} else {
			s.fault("Ignoring a lease: its subnet covers another host's PublicIP; let SubnetMin and SubnetMax leave out the hosts",
				"subnet", l.Key(), "PublicIP", l.V4.PublicIP, "other", c.inner.V4.PublicIP)
		}
	}
	f.peers = slices.DeleteFunc(f.peers, func(p peer) bool { return out[p.lease] })
}

// latest returns the claims of a family's peers but those that the kernel has no room
// for beside a later one: of the same subnet, or with the same tunnel endpoint on
// another host. A backend that publishes Data names its endpoint there, but for udp.
func (s *sorter) latest(f family) []subnet.Claim {
	subnets := make(map[netip.Addr]peer, len(f.peers)) // by the first address, which is the gateway of a tunnel
	endpoints := make(map[string]peer, len(f.peers))
	for _, p := range f.peers {
		if last, ok := subnets[p.Subnet.Addr()]; !ok || p.lease.Rev > last.lease.Rev {
			subnets[p.Subnet.Addr()] = p
		}
		if last, ok := endpoints[p.Data]; f.own.Data != "" && p.Data != "" && s.Own.Type != "" && (!ok || p.lease.Rev > last.lease.Rev) {
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
