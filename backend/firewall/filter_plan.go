package firewall

import (
	"net/netip"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/nft"
)

// dockerMark is the bit of packets that Docker must not drop and that no rule among
// Docker's can recognise by itself: what a peer's host sends by the underlay under its
// own address, and everything from the overlay where Docker uses nftables, whose drops
// no other table can undo. Docker is told of it by
// --bridge-accept-fwmark=0x1000000/0x1000000.
const dockerMark = 0x1000000

func marked() firewall.Mark { return firewall.Mark{Value: dockerMark, Mask: dockerMark} }

// Names in the filter's table.
const (
	counterRefused = "refused" // datagrams to the tunnel's port
	counterSpoofed = "spoofed" // packets with a source in the overlay
	setSpoofed     = "spoofed" // sources that no host has; of a family
)

// filterTable returns the table for the overlays; an empty one if there is to be none.
func filterTable(id nft.ID, p Policy, overlays []overlay, h host) nft.Table {
	t := nft.Table{ID: id, Counters: []string{counterRefused, counterSpoofed}}
	input := nft.Chain{Name: "input", Hook: nft.Input, Priority: nft.Raw}
	direct := nft.Chain{Name: "prerouting", Hook: nft.Prerouting, Priority: nft.Raw}
	mark := nft.Chain{Name: "mark", Hook: nft.Prerouting, Priority: nft.Raw - 10}
	for _, o := range overlays {
		v6 := o.v6()
		tunnel, byHosts := o.ingress.Port != 0 && !p.Filter.Off, o.ingress.Direct && p.Docker
		if tunnel || byHosts {
			hosts := o.set("hosts")
			hosts.Keeps = o.partial
			for _, c := range o.peers {
				hosts.Elements = append(hosts.Elements, netip.PrefixFrom(c.PublicIP, c.PublicIP.BitLen()))
			}
			t.Sets = append(t.Sets, hosts)
			if byHosts {
				mark.Rules = append(mark.Rules, nft.Rule{V6: v6, SrcIn: hosts.Name, SetMark: marked(),
					Rule: firewall.Rule{In: firewall.Iface{Name: o.underlay}, Dst: firewall.In(o.own)}})
			}
		}
		if tunnel {
			allowed := o.set("allowed")
			allowed.Ranges, allowed.Elements = true, ofFamily(v6, p.Filter.Allow...)
			t.Sets = append(t.Sets, allowed, o.remembering("refused"))
			input.Rules = append(input.Rules, o.tunnelRules(ofFamily(v6, h.local...))...)
		}
		if o.ingress.Direct && !p.Filter.Off {
			subnets := o.subnets()
			t.Sets = append(t.Sets, subnets, o.remembering(setSpoofed))
			direct.Rules = append(direct.Rules, o.directRules(subnets.Name)...)
		}
		if h.marks {
			for _, r := range firewall.Inbound(o.own, o.ways()) {
				r.Target = ""
				mark.Rules = append(mark.Rules, nft.Rule{V6: v6, Rule: r, SetMark: marked()})
			}
		}
	}
	for _, c := range []nft.Chain{input, direct, mark} {
		if len(c.Rules) > 0 {
			t.Chains = append(t.Chains, c)
		}
	}
	if len(t.Chains) == 0 {
		return nft.Table{ID: id}
	}
	return t
}

// name returns that of a set of the family.
func (o overlay) name(set string) string {
	if o.v6() {
		return set + "6"
	}
	return set + "4"
}

func (o overlay) set(name string) nft.Set { return nft.Set{Name: o.name(name), V6: o.v6()} }

// remembering returns a set of the sources that were refused lately. It is bounded, so
// that a sender that invents sources cannot fill the memory.
func (o overlay) remembering(name string) nft.Set {
	s := o.set(name)
	s.Remembers, s.Seconds = 256, 120
	return s
}

// tunnelRules returns what lets datagrams to the tunnel in only if a lease publishes
// their source, or it is allowed. They are for the input, where datagrams are for this
// host and, with IPv4, whole. Tunnels on the port with another VNI are not looked at.
func (o overlay) tunnelRules(local []netip.Prefix) (rules []nft.Rule) {
	v6 := o.v6()
	kinds := []nft.Rule{{V6: v6, Port: o.ingress.Port, VXLAN: true, VNI: o.ingress.VNI}}
	if v6 {
		// A first fragment may end before the VNI, and fragments of IPv6 are not put
		// together yet.
		kinds = append(kinds, nft.Rule{V6: v6, Port: o.ingress.Port, Split: true})
	}
	for _, base := range kinds {
		for _, set := range []string{"hosts", "allowed"} {
			r := base
			r.SrcIn, r.Target = o.name(set), firewall.Return
			rules = append(rules, r)
		}
		for _, p := range local {
			r := base
			r.Src, r.Remember = firewall.In(p), o.name("refused")
			rules = append(rules, r)
		}
		r := base
		r.Absent, r.Count, r.Target = o.name("hosts"), counterRefused, firewall.Drop
		rules = append(rules, r)
	}
	return rules
}

// subnets returns the sources that peers hold.
func (o overlay) subnets() nft.Set {
	s := o.set("subnets")
	s.Ranges, s.Keeps = true, o.partial
	for _, c := range o.peers {
		s.Elements = append(s.Elements, c.Subnet)
		if o.network.Contains(c.PublicIP) {
			// Packets of the host itself have it.
			s.Elements = append(s.Elements, netip.PrefixFrom(c.PublicIP, c.PublicIP.BitLen()))
		}
	}
	return s
}

// directRules returns what drops packets that come by the underlay's interface with a
// source in the Network that no peer holds. Dropped are packets to containers, here or
// by this host's tunnels elsewhere, and packets that claim to be from a container of
// this host. What goes to the host itself is let in, since the Network may reach around
// addresses that are not the overlay's: the hosts' own, etcd's, and the administrator's.
func (o overlay) directRules(subnets string) []nft.Rule {
	base := nft.Rule{V6: o.v6(), Rule: firewall.Rule{In: firewall.Iface{Name: o.underlay}, Src: firewall.In(o.network)}}
	held := base
	held.SrcIn, held.Target = subnets, firewall.Return // one look-up for what is in order
	rules := []nft.Rule{held}

	base.Absent = subnets
	here, elsewhere, own := base, base, base
	here.Dst = firewall.In(o.own)
	elsewhere.DstIn = subnets
	own.Src = firewall.In(o.own)
	for _, r := range []nft.Rule{here, elsewhere, own} {
		// A set that is full ends the rule, so another one drops.
		drop := r
		r.Remember = o.name(setSpoofed)
		drop.Count, drop.Target = counterSpoofed, firewall.Drop
		rules = append(rules, r, drop)
	}
	return rules
}
