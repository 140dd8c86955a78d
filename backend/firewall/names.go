package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"regexp"
	"slices"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

const (
	chainPostrouting = "FLANNEL-POSTRTG"
	chainForward     = "FLANNEL-FWD"
	chain05          = "FLANNEL" // of release 0.5

	commentMasq    = "flanneld masq"
	commentForward = "flanneld forward"
	commentDocker  = "flanneld docker"

	anySuffix = `(-[0-9a-f]{8})?`
)

// The names that daemons give what is theirs.
var (
	anyChain   = regexp.MustCompile(`^(` + chainPostrouting + `|` + chainForward + `)` + anySuffix + `$`)
	anyComment = regexp.MustCompile(`^` + commentDocker + anySuffix + `$`)
	anyTable   = regexp.MustCompile(`^(inet flanneld|ip flannel-ipv4|ip6 flannel-ipv6)` + anySuffix + `$`)
)

// names are what one daemon's rules go by. They end in its suffix; that of the first
// daemon on a host is empty, so that its names are those of older releases.
type names struct{ suffix string }

// namesFor returns the names for a Policy's Prefix.
func namesFor(prefix string) names {
	if prefix == "" {
		return names{}
	}
	sum := sha256.Sum256([]byte(prefix))
	return names{"-" + hex.EncodeToString(sum[:4])}
}

func (n names) postrouting() string { return chainPostrouting + n.suffix }
func (n names) forward() string     { return chainForward + n.suffix }
func (n names) docker() string      { return commentDocker + n.suffix } // the comment of rules among Docker's

// filter is the table that drops what no peer has sent.
func (n names) filter() nft.ID { return nft.ID{Family: nft.Inet, Name: "flanneld" + n.suffix} }

// table is that of a family's own rules in nftables.
func (n names) table(v6 bool) nft.ID {
	if v6 {
		return nft.ID{Family: nft.IPv6, Name: "flannel-ipv6" + n.suffix}
	}
	return nft.ID{Family: nft.IPv4, Name: "flannel-ipv4" + n.suffix}
}

// ownTable reports whether a table is a daemon's.
func ownTable(id nft.ID) bool { return anyTable.MatchString(id.String()) }

// everything is the owner of all that daemons have. What older releases left is not
// included: a daemon has taken it over, or never ran.
func everything() iptables.Owner {
	return iptables.Owner{Chain: anyChain.MatchString, Comment: anyComment.MatchString}
}

// owner says which rules are this daemon's, or were an older release's for the same
// networks. All networks are of one family; own are this host's subnets, now and before.
func (n names) owner(networks, own []netip.Prefix, forward bool) iptables.Owner {
	return iptables.Owner{
		Chain:    func(name string) bool { return name == n.postrouting() || name == n.forward() },
		Former:   []string{chain05, chainPostrouting, chainForward},
		Comment:  func(c string) bool { return c == n.docker() },
		Shared:   []string{commentMasq, commentForward},
		Networks: networks,
		Groups:   former(networks, own, forward),
	}
}

// former returns the rules without a comment that releases before 0.16.2 added to
// chains of others. Two rules that accept a network in FORWARD may as well be an
// administrator's, so they count only if others take their place.
func former(networks, own []netip.Prefix, forward bool) []iptables.Chain {
	var groups []iptables.Chain
	post := func(rules ...firewall.Rule) {
		groups = append(groups, iptables.Chain{Table: "nat", Name: "POSTROUTING", Rules: rules})
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
			groups = append(groups, iptables.Chain{Table: "filter", Name: "FORWARD", Rules: []firewall.Rule{
				{Src: in, Target: firewall.Accept}, {Dst: in, Target: firewall.Accept},
			}})
		}
	}
	return groups
}

// ofFamily returns the valid prefixes that are of a family.
func ofFamily(v6 bool, all ...netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return !p.IsValid() || p.Addr().Is6() != v6 })
}
