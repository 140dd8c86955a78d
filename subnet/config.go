package subnet

import (
	"encoding/json"
	"net/netip"
)

// Config is the cluster's configuration, with every default filled in.
type Config struct {
	V4, V6  Range           // zero if the family is disabled
	Type    string          // backend type, lower case; "udp" if the document names no backend
	Backend json.RawMessage // the document's "Backend" object as written; nil if absent

	NFTables bool // EnableNFTables

	backendAt position // of Backend in the document
}

// Range is the part of one address family that leases are taken from.
type Range struct {
	Network   netip.Prefix // masked
	SubnetLen int          // prefix length of every lease, in bits
	Min, Max  netip.Addr   // first and last leasable subnet's network address, both included
}

// Enabled reports whether the network has this family.
func (r Range) Enabled() bool { return r.Network.IsValid() }

// Contains reports whether p may be leased: it has the right length and lies
// between Min and Max.
func (r Range) Contains(p netip.Prefix) bool {
	return r.Enabled() && p.IsValid() && p == p.Masked() && p.Bits() == r.SubnetLen &&
		p.Addr().BitLen() == r.Min.BitLen() && r.Min.Compare(p.Addr()) <= 0 && p.Addr().Compare(r.Max) <= 0
}
