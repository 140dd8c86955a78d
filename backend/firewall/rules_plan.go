package firewall

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/subnet"
)

// family is one address family of the overlay. It compares with ==.
type family struct {
	network, own netip.Prefix
	ingress      backend.Ingress
	underlay     string // the name of the interface
}

func (f family) v6() bool { return f.network.Addr().Is6() }

// overlay is a family with its peers.
type overlay struct {
	family
	peers   []subnet.Claim
	partial bool // there may be more peers
}

// families returns those of the overlays; nil if there are none.
func families(overlays []overlay) (all []family) {
	for _, o := range overlays {
		all = append(all, o.family)
	}
	return all
}

// ways says how the family's packets come in.
func (f family) ways() []firewall.Rule {
	var ways []firewall.Rule
	if f.ingress.Device != "" {
		ways = append(ways, firewall.Rule{In: firewall.Iface{Name: f.ingress.Device}})
	}
	if f.ingress.Direct {
		ways = append(ways, firewall.Rule{In: firewall.Iface{Name: f.underlay}, Src: firewall.In(f.network)})
	}
	return ways
}

// dockerUser is the chain that Docker makes for rules that come before its own.
const dockerUser = "DOCKER-USER"

// switches say how the policy is carried out on this host.
type switches struct {
	nftables bool   // iptables is only for Docker's rules, if Docker uses iptables
	marks    bool   // packets of peers' hosts have dockerMark
	options  string // of MASQUERADE
}

// iptablesRules returns one family's rules for iptables: a chain that masquerades, a
// chain that forwards, and what goes among Docker's rules.
func (f family) iptablesRules(p Policy, n names, s switches) iptables.Want {
	var w iptables.Want
	add := func(table, chain, into, comment string, rules []firewall.Rule) {
		w.Chains = append(w.Chains, iptables.Chain{Table: table, Name: chain, Rules: firewall.Commented(comment, rules)})
		w.Inserts = append(w.Inserts, iptables.Insert{Table: table, Chain: into, Rule: firewall.Rule{Comment: comment, Target: chain}})
	}
	if p.Masquerade && !s.nftables {
		add("nat", n.postrouting(), "POSTROUTING", commentMasq, firewall.Postrouting(f.network, f.own, s.options))
	}
	if p.Forward && !s.nftables {
		add("filter", n.forward(), "FORWARD", commentForward, firewall.Forward(f.network))
	}
	if !p.Docker {
		return w
	}
	w.Optional = []string{"raw"}
	with := ""
	if s.nftables {
		with = dockerUser
	}
	ways := f.ways()
	if s.marks && f.ingress.Direct {
		ways = append(ways, firewall.Rule{In: firewall.Iface{Name: f.underlay}, Mark: marked()})
	}
	for _, r := range firewall.Commented(n.docker(), firewall.Inbound(f.own, ways)) {
		w.Inserts = append(w.Inserts,
			iptables.Insert{Table: "raw", Chain: "PREROUTING", Rule: r, Ahead: true, With: with},
			iptables.Insert{Table: "filter", Chain: dockerUser, Rule: r})
	}
	return w
}

// nftablesChains returns one family's rules for nftables, where they have a table of
// their own.
func (f family) nftablesChains(p Policy, options string) (all []nft.Chain) {
	if p.Forward {
		all = append(all, nft.Chain{Name: "forward", Hook: nft.Forward, Priority: nft.Filter,
			Rules: nft.Rules(firewall.Commented(commentForward, firewall.Forward(f.network)))})
	}
	if p.Masquerade {
		all = append(all, nft.Chain{Name: "postrtg", NAT: true, Hook: nft.Postrouting, Priority: nft.SrcNAT,
			Rules: nft.Rules(firewall.Commented(commentMasq, firewall.Postrouting(f.network, f.own, options)))})
	}
	return all
}
