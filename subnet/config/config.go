// Package config decides what a cluster's configuration document means: which
// ranges subnets are leased from, which of them are free, which backend carries
// the packets. It does not know what a lease is, where the document is kept, or
// which backends there are.
package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Config is the cluster's configuration, with every default filled in.
type Config struct {
	V4, V6  Range           // zero if the family is disabled
	Type    string          // backend type, lower case; "udp" if the document names no backend
	Backend json.RawMessage // the document's "Backend" object as written; nil if absent

	NFTables bool // EnableNFTables

	backendAt *Error // about the place of Backend in the document; nil if it is absent
}

// Range is the part of one address family that leases are taken from.
type Range struct {
	Network   netip.Prefix // masked
	SubnetLen int          // prefix length of every lease, in bits
	Min, Max  netip.Addr   // first and last leasable subnet's network address, both included

	bounded bool // the document has Min or Max
}

// Enabled reports whether the network has this family.
func (r Range) Enabled() bool { return r.Network.IsValid() }

// Contains reports whether p may be leased: it has the right length and lies
// between Min and Max.
func (r Range) Contains(p netip.Prefix) bool {
	return r.Enabled() && p.IsValid() && p == p.Masked() && p.Bits() == r.SubnetLen &&
		p.Addr().BitLen() == r.Min.BitLen() && r.Min.Compare(p.Addr()) <= 0 && p.Addr().Compare(r.Max) <= 0
}

// Allows reports whether the configuration can have given a lease on these
// subnets. A disabled family's is the zero Prefix.
func (c Config) Allows(v4, v6 netip.Prefix) bool {
	return c.V4.Contains(v4) && v6.IsValid() == c.V6.Enabled() && (!v6.IsValid() || c.V6.Contains(v6))
}

// Spares returns a *Error if a gateway of this host lies in a subnet that may be leased, and
// nobody has said that it may: the host that leased it would take all others' traffic.
func (c Config) Spares(gateways []netip.Addr) error {
	for _, g := range gateways {
		for _, r := range []Range{c.V4, c.V6} {
			if !r.bounded && r.Enabled() && r.Contains(netip.PrefixFrom(g, r.SubnetLen).Masked()) {
				return &Error{Msg: fmt.Sprintf("this host's default gateway %s lies in the Network %s", g, r.Network),
					Hint: "write another Network, or SubnetMin and SubnetMax that leave out where hosts and gateways are"}
			}
		}
	}
	return nil
}

// Networks returns those of both families. That of a family which is disabled is the
// zero Prefix.
func (c Config) Networks() []netip.Prefix { return []netip.Prefix{c.V4.Network, c.V6.Network} }
