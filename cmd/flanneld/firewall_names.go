package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// firewallNames are what this daemon's rules go by. Those of a second daemon on a
// host, which has another etcd prefix, have a suffix that comes of the prefix; the
// first one's are those of older releases.
type firewallNames struct {
	postrouting, forward string // chains
	docker               string // comment of rules among Docker's
	suffix               string
}

const (
	chainPostrouting = "FLANNEL-POSTRTG"
	chainForward     = "FLANNEL-FWD"
	chain05          = "FLANNEL" // of release 0.5

	commentMasq    = "flanneld masq"
	commentForward = "flanneld forward"
	commentDocker  = "flanneld docker"
)

func namesFor(etcdPrefix string) firewallNames {
	suffix := ""
	if etcdPrefix != defaultPrefix {
		sum := sha256.Sum256([]byte(etcdPrefix))
		suffix = "-" + hex.EncodeToString(sum[:4])
	}
	return firewallNames{
		postrouting: chainPostrouting + suffix, forward: chainForward + suffix,
		docker: commentDocker + suffix, suffix: suffix,
	}
}

// tables are those of the overlay's own rules in nftables, of IPv4 and IPv6.
func (n firewallNames) tables() []nft.ID {
	return []nft.ID{{Family: nft.IPv4, Name: "flannel-ipv4" + n.suffix}, {Family: nft.IPv6, Name: "flannel-ipv6" + n.suffix}}
}

// filter is the table that keeps strangers out.
func (n firewallNames) filter() nft.ID { return nft.ID{Family: nft.Inet, Name: "flanneld" + n.suffix} }

// owner says which rules are this daemon's, or were those of an older release for
// the same networks. All of networks are of one family; previous are this host's
// subnets, now and before.
func (n firewallNames) owner(networks, own []netip.Prefix, forward bool) iptables.Owner {
	return iptables.Owner{
		Chains:   []string{n.postrouting, n.forward},
		Former:   []string{chain05, chainPostrouting, chainForward},
		Comments: []string{n.docker},
		Shared:   []string{commentMasq, commentForward},
		Networks: networks,
		Groups:   former(networks, own, forward),
	}
}

// former returns the rules without a comment that releases before 0.16.2 added to
// chains of others. Two rules that accept a network in FORWARD
// may as well be an administrator's; they are taken for former ones only if others
// take their place.
func former(networks, own []netip.Prefix, forward bool) []iptables.Group {
	var groups []iptables.Group
	post := func(rules ...firewall.Rule) {
		groups = append(groups, iptables.Group{Table: "nat", Chain: "POSTROUTING", Rules: rules})
	}
	for _, n := range networks {
		in, out := firewall.In(n), firewall.Outside(n)
		to := firewall.Rule{Src: out, Dst: in, Target: firewall.Masquerade}
		post(firewall.Rule{Src: in, Target: chain05}, to)
		for _, options := range []string{"", firewall.RandomFully} {
			to.Options = options
			from := firewall.Rule{Src: in, Dst: firewall.Outside(firewall.Multicast(n)), Target: firewall.Masquerade, Options: options}
			inside := firewall.Rule{Src: in, Dst: in, Target: firewall.Return}
			post(inside, from, to)
			for _, s := range own {
				post(inside, from, firewall.Rule{Src: out, Dst: firewall.In(s), Target: firewall.Return}, to)
			}
		}
		if forward {
			groups = append(groups, iptables.Group{Table: "filter", Chain: "FORWARD", Rules: []firewall.Rule{
				{Src: in, Target: firewall.Accept}, {Dst: in, Target: firewall.Accept},
			}})
		}
	}
	return groups
}

// ofFamily returns the prefixes that are of a family and there at all.
func ofFamily(v6 bool, all ...netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return !p.IsValid() || p.Addr().Is6() != v6 })
}
