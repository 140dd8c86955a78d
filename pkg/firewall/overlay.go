package firewall

import (
	"net/netip"
	"slices"
)

// masqueradeMark is how Kubernetes marks what it is going to masquerade itself.
const masqueradeMark = 0x4000

// Postrouting returns what hides the addresses of the overlay's network, of which own is
// the part behind this host, from the rest of the world, and those of the rest of the
// world from the overlay. The options are Masquerade's: RandomFully or none. In this
// order:
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
func Postrouting(network, own netip.Prefix, options string) []Rule {
	return []Rule{
		{Mark: Mark{masqueradeMark, masqueradeMark}, Target: Return},
		{Src: In(own), Dst: In(network), Target: Return},
		{Src: In(network), Dst: In(own), Target: Return},
		{Src: Outside(network), Dst: In(own), Target: Return},
		{Src: In(network), Dst: Outside(Multicast(network)), Target: Masquerade, Options: options},
		{Src: Outside(network), Dst: In(network), Target: Masquerade, Options: options},
	}
}

// Multicast returns all multicast addresses of a prefix's family.
func Multicast(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
}

// Forward returns what lets packets from and to the overlay's network pass through this
// host, whatever the policy is for others.
func Forward(network netip.Prefix) []Rule {
	return []Rule{{Src: In(network), Target: Accept}, {Dst: In(network), Target: Accept}}
}

// Inbound returns what accepts packets that match one of ways, which say how packets from
// other hosts of the overlay come in, to this host's part of the overlay.
func Inbound(own netip.Prefix, ways []Rule) []Rule {
	rules := slices.Clone(ways)
	for i := range rules {
		rules[i].Dst, rules[i].Target = In(own), Accept
	}
	return rules
}

// Commented gives the rules a comment, and returns them.
func Commented(comment string, rules []Rule) []Rule {
	for i := range rules {
		rules[i].Comment = comment
	}
	return rules
}
