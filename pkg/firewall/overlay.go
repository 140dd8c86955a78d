package firewall

import (
	"net/netip"
	"slices"
)

// masqueradeMark is how Kubernetes marks what it is going to masquerade itself.
const masqueradeMark = 0x4000

// Overlay says what the rules of this file are about.
type Overlay struct {
	Network netip.Prefix // the whole overlay
	Own     netip.Prefix // the part of it that is behind this host
	Comment string       // of the rules; empty: none
	Options string       // of Masquerade: RandomFully or empty
}

// Postrouting returns what hides the addresses of the overlay from the rest of
// the world, and those of the rest of the world from the overlay, in this order:
//
//   - what others have marked for their own translation is theirs;
//   - between hosts of the overlay addresses stay, so that a container sees who
//     talks to it;
//   - so they do for what comes to this host's part from outside, whose answer
//     would not come back here otherwise if somebody routes to the overlay;
//   - what leaves the overlay gets this host's address, but not multicast, whose
//     receivers look at the source;
//   - what this host sends into the overlay gets the address it leaves with, or
//     the answer would take another way.
func Postrouting(o Overlay) []Rule {
	rules := []Rule{
		{Mark: Mark{masqueradeMark, masqueradeMark}, Target: Return},
		{Src: In(o.Own), Dst: In(o.Network), Target: Return},
		{Src: In(o.Network), Dst: In(o.Own), Target: Return},
		{Src: Outside(o.Network), Dst: In(o.Own), Target: Return},
		{Src: In(o.Network), Dst: Outside(Multicast(o.Network)), Target: Masquerade, Options: o.Options},
		{Src: Outside(o.Network), Dst: In(o.Network), Target: Masquerade, Options: o.Options},
	}
	return commented(rules, o.Comment)
}

// Multicast returns all multicast addresses of a prefix's family.
func Multicast(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
}

// Forward returns what lets packets from and to the overlay pass through this
// host, whatever the policy is for others.
func Forward(o Overlay) []Rule {
	return commented([]Rule{
		{Src: In(o.Network), Target: Accept},
		{Dst: In(o.Network), Target: Accept},
	}, o.Comment)
}

// Inbound returns what accepts packets that match one of ways, which say how packets from
// other hosts of the overlay come in, to this host's part of the overlay.
func Inbound(o Overlay, ways []Rule) []Rule {
	rules := slices.Clone(ways)
	for i := range rules {
		rules[i].Dst, rules[i].Target = In(o.Own), Accept
	}
	return commented(rules, o.Comment)
}

func commented(rules []Rule, comment string) []Rule {
	for i := range rules {
		rules[i].Comment = comment
	}
	return rules
}
