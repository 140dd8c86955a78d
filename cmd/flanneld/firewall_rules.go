package main

import (
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
)

// overlayFacts are what one family's rules depend on. They compare with ==.
type overlayFacts struct {
	network, own netip.Prefix
	entrance     backend.Entrance
	underlay     string // name of the interface
}

// ways says how the overlay's packets come in.
func (f overlayFacts) ways() []firewall.Way {
	var ways []firewall.Way
	if f.entrance.Device != "" {
		ways = append(ways, firewall.Way{In: f.entrance.Device})
	}
	if f.entrance.Direct {
		ways = append(ways, firewall.Way{In: f.underlay, Source: f.network})
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
	if s.masquerade {
		add("nat", names.postrouting, "POSTROUTING", commentMasq, firewall.Postrouting(f.overlay(commentMasq, s.options)))
	}
	if s.forward {
		add("filter", names.forward, "FORWARD", commentForward, firewall.Forward(f.overlay(commentForward, "")))
	}
	if s.docker {
		w.Optional = []string{"raw"}
		for _, r := range firewall.Inbound(f.overlay(names.docker, ""), f.ways()) {
			w.Inserts = append(w.Inserts,
				iptables.Insert{Table: "raw", Chain: "PREROUTING", Rule: r, Ahead: iptables.OfStrangers},
				iptables.Insert{Table: "filter", Chain: dockerUser, Rule: r, Ahead: iptables.OfAll})
		}
	}
	return w
}

// dockerUser is the chain that Docker makes for rules that come before its own.
const dockerUser = "DOCKER-USER"
