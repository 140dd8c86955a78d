package main

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/nft"
)

// dockerMark is the bit that packets from the overlay get where Docker uses
// nftables, whose own drops no rule of another table can undo. Docker has to be
// told: --bridge-accept-fwmark=0x1000000/0x1000000.
const dockerMark = 0x1000000

// Names in the table that keeps strangers out.
const (
	counterRefused = "refused" // datagrams to the tunnel's port
	counterSpoofed = "spoofed" // packets with a source in the overlay
)

// filterFacts are what the table depends on.
type filterFacts struct {
	planes []backend.Plane
	facts  []overlayFacts // of these planes
	allow  []netip.Prefix // whence peers may send beside their PublicIP
	local  []netip.Prefix // the underlay's own subnets
	off    bool           // strangers are let in
	mark   bool           // for Docker's nftables
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
		if o.entrance.Port != 0 && !f.off {
			hosts := nft.Set{Name: "hosts" + family, V6: v6}
			for _, p := range f.planes[i].Peers {
				hosts.Elements = append(hosts.Elements, netip.PrefixFrom(p.PublicIP, p.PublicIP.BitLen()))
			}
			allowed := nft.Set{Name: "allowed" + family, V6: v6, Ranges: true, Elements: ofFamily(v6, f.allow...)}
			t.Sets = append(t.Sets, hosts, allowed, remembering("refused"+family, v6))
			input.Rules = append(input.Rules, tunnelRules(o, v6, family, ofFamily(v6, f.local...))...)
		}
		if o.entrance.Direct && !f.off {
			subnets := nft.Set{Name: "subnets" + family, V6: v6, Ranges: true}
			for _, p := range f.planes[i].Peers {
				subnets.Elements = append(subnets.Elements, p.Subnet)
			}
			t.Sets = append(t.Sets, subnets, remembering("spoofed"+family, v6))
			r := nft.Rule{V6: v6, Absent: subnets.Name, Remember: "spoofed" + family,
				Rule: firewall.Rule{In: firewall.Iface{Name: o.underlay}, Src: firewall.In(o.network)}}
			direct.Rules = append(direct.Rules, r)
			r.Remember, r.Count, r.Target = "", counterSpoofed, firewall.Drop
			direct.Rules = append(direct.Rules, r)
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
	packet := nft.Rule{V6: v6, Port: o.entrance.Port, VXLAN: true, VNI: o.entrance.VNI}
	part := nft.Rule{V6: v6, Port: o.entrance.Port, Split: true}
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

// remembering returns a set of the sources that were refused lately. That it is
// bounded keeps whoever invents sources from filling the memory.
func remembering(name string, v6 bool) nft.Set {
	return nft.Set{Name: name, V6: v6, Remembers: 256, Seconds: 120}
}
