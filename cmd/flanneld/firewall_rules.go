package main

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// overlayFacts are what one family's rules depend on. They compare with ==.
type overlayFacts struct {
	network, own netip.Prefix
	ingress      backend.Ingress
	underlay     string // name of the interface
}

// ways says how the overlay's packets come in.
func (f overlayFacts) ways() []firewall.Way {
	var ways []firewall.Way
	if f.ingress.Device != "" {
		ways = append(ways, firewall.Way{In: f.ingress.Device})
	}
	if f.ingress.Direct {
		ways = append(ways, firewall.Way{In: f.underlay, Source: f.network})
	}
	return ways
}

// waysIn are the ways, and with marks also that of what peers' hosts send under
// their own addresses.
func (f overlayFacts) waysIn(marks bool) []firewall.Way {
	ways := f.ways()
	if marks && f.ingress.Direct {
		ways = append(ways, firewall.Way{In: f.underlay, Mark: firewall.Mark{Value: dockerMark, Mask: dockerMark}})
	}
	return ways
}

// overlay returns what the overlay's own rules are about.
func (f overlayFacts) overlay(comment, options string) firewall.Overlay {
	return firewall.Overlay{Network: f.network, Own: f.own, Comment: comment, Options: options}
}

// ruleSwitches say which rules are wanted.
type ruleSwitches struct {
	masquerade, forward bool
	// docker: packets from the overlay are let past Docker's rules.
	docker bool
	// marks: packets of peers' hosts have the mark.
	marks bool
	// nftables: iptables is for Docker's rules only, if it uses iptables itself.
	nftables bool
	// options of MASQUERADE.
	options string
}

// iptablesRules returns the rules of one family for iptables: a chain to
// masquerade, a chain to forward, and what goes among Docker's rules.
func (f overlayFacts) iptablesRules(names firewallNames, s ruleSwitches) iptables.Want {
	var w iptables.Want
	add := func(table, chain, into, comment string, rules []firewall.Rule) {
		w.Chains = append(w.Chains, iptables.Chain{Table: table, Name: chain, Rules: rules})
		w.Inserts = append(w.Inserts, iptables.Insert{
			Table: table, Chain: into, Rule: firewall.Rule{Comment: comment, Target: chain}, Ahead: iptables.OfAll,
		})
	}
	if s.masquerade && !s.nftables {
		add("nat", names.postrouting, "POSTROUTING", commentMasq, firewall.Postrouting(f.overlay(commentMasq, s.options)))
	}
	if s.forward && !s.nftables {
		add("filter", names.forward, "FORWARD", commentForward, firewall.Forward(f.overlay(commentForward, "")))
	}
	if s.docker {
		w.Optional = []string{"raw"}
		with := ""
		if s.nftables {
			with = dockerUser
		}
		for _, r := range firewall.Inbound(f.overlay(names.docker, ""), f.waysIn(s.marks)) {
			w.Inserts = append(w.Inserts,
				iptables.Insert{Table: "raw", Chain: "PREROUTING", Rule: r, Ahead: iptables.OfStrangers, With: with},
				iptables.Insert{Table: "filter", Chain: dockerUser, Rule: r, Ahead: iptables.OfAll})
		}
	}
	return w
}

// nftablesRules returns the rules of one family for nftables, a table of its own;
// ok is false if there is to be none.
func (f overlayFacts) nftablesRules(names firewallNames, s ruleSwitches) (t nft.Table, ok bool) {
	t.ID = names.tables()[0]
	if f.network.Addr().Is6() {
		t.ID = names.tables()[1]
	}
	if s.forward {
		t.Chains = append(t.Chains, nft.Chain{Name: "forward", Hook: nft.Forward, Priority: nft.Filter,
			Rules: nft.Rules(firewall.Forward(f.overlay(commentForward, "")))})
	}
	if s.masquerade {
		t.Chains = append(t.Chains, nft.Chain{Name: "postrtg", NAT: true, Hook: nft.Postrouting, Priority: nft.SrcNAT,
			Rules: nft.Rules(firewall.Postrouting(f.overlay(commentMasq, s.options)))})
	}
	return t, len(t.Chains) > 0 && s.nftables
}

// dockerUser is the chain that Docker makes for rules that come before its own.
const dockerUser = "DOCKER-USER"
