package main

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/nft"
	"flanneld/subnet"
)

// dockerMark is the bit that packets get which Docker is not to drop and of which a
// rule among Docker's cannot tell so itself: what a peer's host sends by the underlay
// under its own address; and all of the overlay's where Docker uses nftables, whose
// drops no rule of another table can undo. That Docker has to be told of it, by
// --bridge-accept-fwmark=0x1000000/0x1000000, and that it is not to drop what is for
// containers' addresses before it looks at marks, by --allow-direct-routing.
const dockerMark = 0x1000000

// Names in the table that keeps strangers out.
const (
	counterRefused = "refused" // datagrams to the tunnel's port
	counterSpoofed = "spoofed" // packets with a source in the overlay
	setSpoofed     = "spoofed" // sources that no host has; of a family
)

// filterFacts are what the table depends on.
type filterFacts struct {
	planes []backend.Plane
	facts  []overlayFacts // of these planes
	allow  []netip.Prefix // whence peers may send beside their PublicIP
	local  []netip.Prefix // the underlay's own subnets
	off    bool           // strangers are let in
	mark   bool           // for Docker's nftables
	docker bool           // packets are let past Docker's rules
}

// filterTable returns the table; ok is false if there is to be none.
func filterTable(id nft.ID, f filterFacts) (t nft.Table, ok bool) {
	t = nft.Table{ID: id, Counters: []string{counterRefused, counterSpoofed}}
	input := nft.Chain{Name: "input", Hook: nft.Input, Priority: nft.Raw}
	direct := nft.Chain{Name: "prerouting", Hook: nft.Prerouting, Priority: nft.Raw}
	mark := nft.Chain{Name: "mark", Hook: nft.Prerouting, Priority: nft.Raw - 10}
	for i, o := range f.facts {
		family := "4"
		v6 := o.network.Addr().Is6()
		if v6 {
			family = "6"
		}
		peers := f.planes[i].Peers
		tunnel, unpacked := o.ingress.Port != 0 && !f.off, o.ingress.Direct && !f.off
		hosts := nft.Set{Name: "hosts" + family, V6: v6}
		if fromHosts := o.ingress.Direct && f.docker; tunnel || fromHosts {
			for _, p := range peers {
				hosts.Elements = append(hosts.Elements, netip.PrefixFrom(p.PublicIP, p.PublicIP.BitLen()))
			}
			t.Sets = append(t.Sets, hosts)
			if fromHosts {
				mark.Rules = append(mark.Rules, nft.Rule{V6: v6, SrcIn: hosts.Name, SetMark: firewall.Mark{Value: dockerMark, Mask: dockerMark},
					Rule: firewall.Rule{In: firewall.Iface{Name: o.underlay}, Dst: firewall.In(o.own)}})
			}
		}
		if tunnel {
			allowed := nft.Set{Name: "allowed" + family, V6: v6, Ranges: true, Elements: ofFamily(v6, f.allow...)}
			t.Sets = append(t.Sets, allowed, remembering("refused"+family, v6))
			input.Rules = append(input.Rules, tunnelRules(o, v6, family, ofFamily(v6, f.local...))...)
		}
		if unpacked {
			sets, rules := directRules(o, family, peers)
			t.Sets, direct.Rules = append(t.Sets, sets...), append(direct.Rules, rules...)
		}
		if f.mark {
			for _, r := range firewall.Inbound(o.overlay("", ""), o.ways()) {
				r.Target = ""
				mark.Rules = append(mark.Rules, nft.Rule{V6: v6, Rule: r, SetMark: firewall.Mark{Value: dockerMark, Mask: dockerMark}})
			}
		}
	}
	for _, c := range []nft.Chain{input, direct, mark} {
		if len(c.Rules) > 0 {
			t.Chains = append(t.Chains, c)
		}
	}
	return t, len(t.Chains) > 0
}

// tunnelRules returns what lets datagrams to the tunnel in only if a lease publishes
// their source, or it is allowed. The chain is at the input, where datagrams are for
// this host and, with IPv4, whole; what passes through the host does not come
// there. Other tunnels on the port, with another VNI, are not looked at.
func tunnelRules(o overlayFacts, v6 bool, family string, local []netip.Prefix) (rules []nft.Rule) {
	packet := nft.Rule{V6: v6, Port: o.ingress.Port, VXLAN: true, VNI: o.ingress.VNI}
	part := nft.Rule{V6: v6, Port: o.ingress.Port, Split: true}
	kinds := []nft.Rule{packet}
	if v6 {
		// A first fragment may end before the VNI, and fragments of IPv6 are
		// not put together yet.
		kinds = append(kinds, part)
	}
	for _, base := range kinds {
		for _, set := range []string{"hosts", "allowed"} {
			r := base
			r.SrcIn, r.Target = set+family, firewall.Return
			rules = append(rules, r)
		}
		for _, p := range local {
			r := base
			r.Src, r.Remember = firewall.In(p), "refused"+family
			rules = append(rules, r)
		}
		r := base
		r.Absent, r.Count, r.Target = "hosts"+family, counterRefused, firewall.Drop
		rules = append(rules, r)
	}
	return rules
}

// directRules returns what lets packets with a source in the overlay in by the
// underlay's interface only if a peer has this source. One look-up decides about
// packets that are in order.
func directRules(o overlayFacts, family string, peers []subnet.Claim) (sets []nft.Set, rules []nft.Rule) {
	v6 := o.network.Addr().Is6()
	subnets := nft.Set{Name: "subnets" + family, V6: v6, Ranges: true}
	for _, p := range peers {
		subnets.Elements = append(subnets.Elements, p.Subnet)
		if o.network.Contains(p.PublicIP) {
			// Its host's own packets have it.
			subnets.Elements = append(subnets.Elements, netip.PrefixFrom(p.PublicIP, p.PublicIP.BitLen()))
		}
	}
	spoofed := remembering(setSpoofed+family, v6)
	sets = []nft.Set{subnets, spoofed}

	base := nft.Rule{V6: v6, Rule: firewall.Rule{In: firewall.Iface{Name: o.underlay}, Src: firewall.In(o.network)}}
	held := base
	held.SrcIn, held.Target = subnets.Name, firewall.Return
	rules = append(rules, held)
	// A set that is full ends the rule: what remembers does not drop.
	for _, r := range unheld(base, o, subnets.Name) {
		r.Remember = spoofed.Name
		rules = append(rules, r, dropping(r))
	}
	return sets, rules
}

// unheld returns what has a source in the Network that no peer holds, and must not come
// in: what goes to containers, here or by this host's tunnels elsewhere, and whatever
// claims to be from a container of this host. What goes to the host itself is let in,
// since the Network may reach around addresses that are not the overlay's: the hosts'
// own, etcd's, and the administrator's.
func unheld(base nft.Rule, o overlayFacts, subnets string) []nft.Rule {
	base.Absent = subnets
	here, elsewhere, own := base, base, base
	here.Dst = firewall.In(o.own)
	elsewhere.DstIn = subnets
	own.Src = firewall.In(o.own)
	return []nft.Rule{here, elsewhere, own}
}

// dropping returns the rule that drops what the rule remembers.
func dropping(r nft.Rule) nft.Rule {
	r.Remember, r.Count, r.Target = "", counterSpoofed, firewall.Drop
	return r
}

// remembering returns a set of the sources that were refused lately. That it is
// bounded keeps whoever invents sources from filling the memory.
func remembering(name string, v6 bool) nft.Set {
	return nft.Set{Name: name, V6: v6, Remembers: 256, Seconds: 120}
}
