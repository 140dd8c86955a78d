// Package nft keeps the caller's own tables in nftables, by netlink: it needs no program,
// and a kernel since 4.10. A table is a value, which is compared with what the kernel
// has; what differs is replaced in one transaction. The package does not know what the
// tables are for, and leaves those of others alone.
package nft

import (
	"net/netip"
	"time"

	"github.com/google/nftables"

	"flanneld/pkg/firewall"
)

// Family is the family of a table.
type Family byte

// The families, numbered as in linux/netfilter.h.
const (
	Inet Family = 1 // both
	IPv4 Family = 2
	IPv6 Family = 10
)

// ID names a table.
type ID struct {
	Family Family
	Name   string
}

// String returns the table as nft(8) names it.
func (id ID) String() string {
	switch id.Family {
	case IPv4:
		return "ip " + id.Name
	case IPv6:
		return "ip6 " + id.Name
	}
	return "inet " + id.Name
}

func (id ID) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamily(id.Family), Name: id.Name}
}

// Table is a table whose every part is wanted as it is here. Without any there is to be
// no table.
type Table struct {
	ID
	Chains   []Chain
	Sets     []Set
	Counters []string // names; rules count there, and they keep their value
}

// Chain is a chain that packets come to by themselves, or by a rule's jump.
type Chain struct {
	Name     string
	Called   bool // by a rule of a later chain, whose Target is the name; it has rules only
	NAT      bool // translates addresses; false: filters
	Hook     Hook
	Priority int32 // lower is earlier
	Rules    []Rule
}

func (c Chain) chain(t *nftables.Table) *nftables.Chain {
	if c.Called {
		return &nftables.Chain{Name: c.Name, Table: t}
	}
	hook, priority, policy := nftables.ChainHook(c.Hook), nftables.ChainPriority(c.Priority), nftables.ChainPolicyAccept
	kind := nftables.ChainTypeFilter
	if c.NAT {
		kind = nftables.ChainTypeNAT
	}
	return &nftables.Chain{Name: c.Name, Table: t, Type: kind, Hooknum: &hook, Priority: &priority, Policy: &policy}
}

// Hook is where in the kernel a chain gets packets.
type Hook uint32

// The hooks, numbered as in linux/netfilter.h.
const (
	Prerouting  Hook = 0
	Input       Hook = 1
	Forward     Hook = 2
	Postrouting Hook = 4
)

// Priorities that others use.
const (
	Raw    = -300
	Filter = 0
	SrcNAT = 100
)

// Rule is a rule of such a chain. All that is set must match. Other has no form in
// nftables.
type Rule struct {
	firewall.Rule

	V6      bool   // about IPv6, not IPv4; in tables of both families
	Port    uint16 // UDP, of destination
	VXLAN   bool   // with Port: the packet is one of the network VNI (RFC 7348)
	VNI     uint32
	Split   bool   // a fragment, of IPv6
	SrcIn   string // the source is in the set
	DstIn   string // the destination is in the set
	Invalid bool   // connection tracking calls it so: it belongs to no connection
	Leads   bool   // the kernel would send to the source by the interface that the packet came by

	Count    string        // counter that counts the packet
	Remember string        // set that the source is put into
	SetMark  firewall.Mark // that the packet gets
}

// Set is addresses.
type Set struct {
	Name     string
	V6       bool
	Ranges   bool           // Elements are networks; false: single addresses
	Elements []netip.Prefix // in any order; networks may overlap
	Keeps    bool           // elements that are there beside them stay
	// Remembers is how many addresses rules may put in, each for Seconds. Zero:
	// it has Elements, and rules only look.
	Remembers uint32
	Seconds   uint32
}

func (s Set) set(t *nftables.Table) *nftables.Set {
	n := &nftables.Set{Table: t, Name: s.Name, KeyType: nftables.TypeIPAddr, Interval: s.Ranges}
	if s.V6 {
		n.KeyType = nftables.TypeIP6Addr
	}
	if s.Remembers != 0 {
		n.Dynamic, n.HasTimeout, n.Size = true, true, s.Remembers
		n.Timeout = time.Duration(s.Seconds) * time.Second
	}
	return n
}

// Rules returns rules that need nothing of what is nftables' alone.
func Rules(all []firewall.Rule) []Rule {
	rules := make([]Rule, len(all))
	for i, r := range all {
		rules[i].Rule = r
	}
	return rules
}
