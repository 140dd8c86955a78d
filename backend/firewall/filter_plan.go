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
	setRefused     = "refused" // sources that no lease publishes; of a family
	setSpoofed     = "spoofed" // sources that no host has
	setAstray      = "astray"  // sources whose packets came by another interface than leads there
)

// filterTable returns the table for the overlays; an empty one if there is to be none.
func filterTable(id nft.ID, p Policy, overlays []overlay, h host) nft.Table {
	t := nft.Table{ID: id, Counters: []string{counterRefused, counterSpoofed}}
	input := nft.Chain{Name: "input", Hook: nft.Input, Priority: nft.Raw}
	through := nft.Chain{Name: "through", Called: true}
	early := nft.Chain{Name: "early", Called: true}
	forward := nft.Chain{Name: "forward", Hook: nft.Forward, Priority: nft.Raw}
	sources := nft.Chain{Name: "prerouting", Hook: nft.Prerouting, Priority: nft.Raw}
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
			t.Sets = append(t.Sets, allowed, o.remembering(setRefused))
			rules := o.tunnelRules(h)
			input.Rules = append(input.Rules, rules.in...)
			through.Rules = append(through.Rules, rules.through...)
			early.Rules = append(early.Rules, rules.early...)
			sources.Rules = append(sources.Rules, rules.jumps...)
		}
		if ways := o.ways(); len(ways) > 0 && !p.Filter.Off {
			t.Sets = append(t.Sets, o.subnets(), o.remembering(setSpoofed), o.remembering(setAstray))
			sources.Rules = append(sources.Rules, o.sourceRules(h)...)
		}
		if p.Masquerade {
			// The kernel does not masquerade what belongs to no connection.
			forward.Rules = append(forward.Rules, nft.Rule{V6: v6, Invalid: true,
				Rule: firewall.Rule{Src: firewall.In(o.network), Dst: firewall.Outside(o.network), Target: firewall.Drop}})
		}
		if h.marks {
			for _, r := range firewall.Inbound(o.own, o.ways()) {
				r.Target = ""
				mark.Rules = append(mark.Rules, nft.Rule{V6: v6, Rule: r, SetMark: marked()})
			}
		}
	}
	for _, c := range []nft.Chain{input, through, early, sources, forward, mark} {
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

// leading returns the rule for packets that came by an interface which leads to their
// source. The kernel is not asked about the underlay's, nor about other cards in its
// subnets, since each answers ARP for the addresses of all.
func (o overlay) leading(r nft.Rule, h host) (rules []nft.Rule) {
	for _, name := range append([]string{o.underlay}, h.beside...) {
		r.In = firewall.Iface{Name: name}
		rules = append(rules, r)
	}
	r.In, r.Leads = firewall.Iface{}, true
	return append(rules, r)
}

// dropping returns what drops packets, and remembers their sources in a set. A set that
// is full ends a rule, so another one drops.
func (o overlay) dropping(r nft.Rule, set, counter string) []nft.Rule {
	drop := r
	r.Remember = o.name(set)
	drop.Count, drop.Target = counter, firewall.Drop
	return []nft.Rule{r, drop}
}

// tunnelRules are for datagrams to the tunnel's port.
type tunnelRules struct {
	in      []nft.Rule // of those to this host
	jumps   []nft.Rule // to the chain of those to peers, which others do not pass, and then to early
	early   []nft.Rule // of those to others than peers, where input cannot say by which interface they came
	through []nft.Rule // of those to peers
}

// tunnelRules returns what lets datagrams to the tunnel's port in, and through to the
// ports of peers, only if a lease publishes their source, or it is allowed, and the
// interface leads there: containers have their host's address for others, and may forge
// any. A backend that checks itself who sends is asked about all other sources. Tunnels of
// the kernel on the port with another VNI are not looked at. Datagrams that come in are
// whole, with IPv4, and so are those that are masqueraded.
func (o overlay) tunnelRules(h host) (t tunnelRules) {
	kinds := []nft.Rule{{V6: o.v6(), Port: o.ingress.Port, VXLAN: o.ingress.Kernel, VNI: o.ingress.VNI}}
	if o.v6() && o.ingress.Kernel {
		// A first fragment may end before the VNI, and fragments of IPv6 are not put
		// together yet.
		kinds = append(kinds, nft.Rule{V6: true, Port: o.ingress.Port, Split: true})
	}
	for _, base := range kinds {
		out := base
		out.DstIn, out.Target = o.name("hosts"), "through"
		t.jumps = append(t.jumps, out)
		lead := &t.in
		if h.early { // fragments are together there if connections are tracked, as Docker has it
			out.DstIn, out.Target = "", "early"
			t.jumps, lead = append(t.jumps, out), &t.early
		}
		var astray []nft.Rule
		for _, set := range []string{"hosts", "allowed"} {
			known := base
			known.SrcIn = o.name(set)
			astray = append(astray, o.dropping(known, setAstray, counterRefused)...)
			known.Target = firewall.Return
			*lead = append(*lead, o.leading(known, h)...)
			t.through = append(t.through, o.leading(known, h)...)
			if h.early {
				t.in = append(t.in, known)
			}
		}
		*lead = append(*lead, astray...)
		t.through = append(t.through, o.dropping(base, setRefused, counterRefused)...)
		if !o.ingress.Kernel {
			continue
		}
		for _, p := range ofFamily(o.v6(), h.local...) {
			r := base
			r.Src, r.Remember = firewall.In(p), o.name(setRefused)
			t.in = append(t.in, r)
		}
		base.Count, base.Target = counterRefused, firewall.Drop
		t.in = append(t.in, base)
	}
	return t
}

// subnets returns the sources that peers hold.
func (o overlay) subnets() nft.Set {
	s := o.set("subnets")
	s.Ranges, s.Keeps = true, o.partial
	for _, c := range o.peers {
		s.Elements = append(s.Elements, c.Subnet)
		if o.ingress.Direct && o.network.Contains(c.PublicIP) {
			// Packets of the host itself have it.
			s.Elements = append(s.Elements, netip.PrefixFrom(c.PublicIP, c.PublicIP.BitLen()))
		}
	}
	return s
}

// sourceRules returns what drops packets with a source in the Network that come neither by
// the overlay's device, nor by an interface of this host that leads to the source, nor,
// without a tunnel, from a peer by the underlay's interface. Dropped are packets to
// containers, here or by this host's tunnels elsewhere, and packets that claim to be from
// a container of this host. What goes to the host itself is let in, since the Network may
// reach around addresses that are not the overlay's: the hosts' own, etcd's, and the
// administrator's.
func (o overlay) sourceRules(h host) (rules []nft.Rule) {
	base := nft.Rule{V6: o.v6(), Rule: firewall.Rule{Src: firewall.In(o.network)}}
	good := base
	good.Target = firewall.Return
	foreign := good // most packets, so it comes first
	foreign.Src.Not = true
	rules = append(rules, foreign)
	if o.ingress.Device != "" {
		r := good
		r.In = firewall.Iface{Name: o.ingress.Device}
		rules = append(rules, r)
	}
	for _, a := range h.inside {
		if o.network.Overlaps(a.Prefix) {
			r := good
			r.In, r.Src = firewall.Iface{Name: a.Interface}, firewall.In(a.Prefix)
			rules = append(rules, r)
		}
	}
	if o.ingress.Direct {
		r := good
		r.SrcIn = o.name("subnets")
		rules = append(rules, o.leading(r, h)...)
	}
	made := good // a bridge that Docker has made since the host was looked at
	made.Src, made.Leads = firewall.In(o.own), true
	rules = append(rules, made)
	base.In = firewall.Iface{Name: "lo", Not: true}
	here, elsewhere, own := base, base, base
	here.Dst = firewall.In(o.own)
	elsewhere.DstIn = o.name("subnets")
	own.Src = firewall.In(o.own)
	for _, r := range []nft.Rule{here, elsewhere, own} {
		astray := r
		astray.SrcIn = o.name("subnets")
		rules = append(rules, append(o.dropping(astray, setAstray, counterSpoofed), o.dropping(r, setSpoofed, counterSpoofed)...)...)
	}
	return rules
}
