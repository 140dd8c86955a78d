package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// udpOffloads is what the udp backend can do without.
func udpOffloads() []string { return []string{"gso", "gro", "uso", "vnet", "multiqueue", "priority"} }

func (v flagValues) checkPeers(o *options) error {
	switch filter := v.text("peer-filter"); filter {
	case "on", "off":
		o.PeerFilter = filter == "on"
	default:
		hint := "give on or off"
		if filter == "strict" {
			hint = "strict is gone: give on, which lets in only sources in leased subnets"
		}
		return usageError{Msg: fmt.Sprintf("invalid value %q for %s", filter, v.from("peer-filter")), Hint: hint}
	}
	// Commas too, since a variable cannot be repeated.
	for s := range strings.SplitSeq(strings.Join(v.list("peer-allow"), ","), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		p, err := parsePrefix(s)
		if err != nil {
			return usageError{
				Msg:  fmt.Sprintf("invalid value %q for %s", s, v.from("peer-allow")),
				Hint: "give a network such as 192.0.2.0/24, or an address; repeat the flag for more",
			}
		}
		o.PeerAllow = append(o.PeerAllow, p.Masked())
	}
	for s := range strings.SplitSeq(v.text("udp-offload"), ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if !slices.Contains(udpOffloads(), s) {
			return usageError{
				Msg:  fmt.Sprintf("invalid value %q for %s", s, v.from("udp-offload")),
				Hint: "give what to do without, of " + strings.Join(udpOffloads(), ", "),
			}
		}
		if !slices.Contains(o.UDPOffload, s) {
			o.UDPOffload = append(o.UDPOffload, s)
		}
	}
	return nil
}

// parsePrefix reads a network, or an address that stands for itself.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}
