package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/options"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

const leaseListHelp = `Print the leases that are in etcd, and how much of the network is leased.

RENEWED is a day before EXPIRES, as hosts lease for a day. Hosts ignore a lease
that the configuration does not allow: NOTE says so.

The exit status is 0, or 1 if etcd cannot be asked. With -o json it prints what
docs/flannelctl.md describes.`

const leaseShowHelp = `Print one lease: what its key and its value in etcd mean, and the value as it is
stored. LEASE is its subnet (10.5.1.0/24 or 10.5.1.0-24), an address in it, or
its host's PublicIP or node id.

The exit status is 0, or 1 if there is no such lease.`

func leaseCommand(c *call) *cobra.Command {
	cmd := &cobra.Command{Use: "lease", Short: "Show and change the leases in etcd", RunE: groupOf("list, show, reserve, unreserve or release")}
	list := &cobra.Command{
		Use:   "list",
		Short: "List the leases, and how much of the network is leased",
		Long:  leaseListHelp,
		Example: `  flannelctl lease list
  flannelctl lease list -o json | jq -r '.leases[] | select(.reserved) | .subnet'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listLeases(cmd.Context(), c) },
	}
	show := &cobra.Command{
		Use:     "show LEASE",
		Short:   "Show one lease, and its value in etcd",
		Long:    leaseShowHelp,
		Example: `  flannelctl lease show 10.5.1.0/24`,
		Args:    oneLease,
		RunE:    func(cmd *cobra.Command, args []string) error { return showLease(cmd.Context(), c, args[0]) },
	}
	cmd.AddCommand(c.usesNetwork(list), completesLeases(c, show))
	cmd.AddCommand(leaseChanges(c)...)
	return cmd
}

// oneLease wants one argument.
func oneLease(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("give one LEASE: its subnet, an address in it, its host's PublicIP or node id", "flannelctl lease list shows all")
	}
	return nil
}

// completesLeases gives a command the flags for etcd, and completion with its leases.
func completesLeases(c *call, cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
		const patience = 2 * time.Second // a person waits
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		if len(args) > 0 || c.completeEtcd(cmd.Flags(), options.NetworkFlags(&c.etcd)) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		n, err := c.openNetwork(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer n.close()
		all, _ := n.list(ctx) // without an answer there is nothing to complete
		for _, l := range all {
			words = append(words, l.V4.Subnet.String()+"\t"+l.V4.PublicIP.String())
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	return c.usesNetwork(cmd)
}

// means reports whether a person means a lease.
func means(l subnet.Lease, what string) bool {
	if what == l.Node && what != "" || what == l.Key().String() || what == wire.Key(l.Key()) || what == l.V4.Subnet.String() {
		return true
	}
	if k, err := wire.ParseKey(what); err == nil {
		return k == l.Key() || !k.V6.IsValid() && k.V4 == l.V4.Subnet
	}
	if p, err := netip.ParsePrefix(what); err == nil {
		return p == l.V4.Subnet || p == l.V6.Subnet
	}
	a, err := netip.ParseAddr(what)
	if err != nil {
		return false
	}
	return a == l.V4.PublicIP || a == l.V6.PublicIP || l.V4.Subnet.Contains(a) || l.V6.Subnet.IsValid() && l.V6.Subnet.Contains(a)
}

// leaseSchema is the version of what lease list, show and the changes print as JSON.
const leaseSchema = 1

// leased is a lease, as it is printed.
type leased struct {
	Schema         int          `json:"schema,omitempty"` // of lease show: it is a part of what others print
	Subnet         netip.Prefix `json:"subnet"`
	SubnetV6       netip.Prefix `json:"subnetV6,omitzero"`
	PublicIP       netip.Addr   `json:"publicIP"`
	PublicIPv6     netip.Addr   `json:"publicIPv6,omitzero"`
	Backend        string       `json:"backend,omitempty"` // absent: udp or alloc, which write none
	BackendData    string       `json:"backendData,omitempty"`
	BackendDataV6  string       `json:"backendDataV6,omitempty"`
	Node           string       `json:"node,omitempty"` // absent: its host has an older release
	Reserved       bool         `json:"reserved"`
	Expires        time.Time    `json:"expires,omitzero"` // absent: it is reserved
	ExpiresSeconds int64        `json:"expiresSeconds,omitempty"`
	Renewed        time.Time    `json:"renewed,omitzero"`    // if its host leases for a day
	Contested      bool         `json:"contested,omitempty"` // another host asks whether this one is there
	MirrorOf       string       `json:"mirrorOf,omitempty"`  // the API that has the original
	Allowed        bool         `json:"allowed"`             // by the configuration
	Revision       uint64       `json:"revision"`
	Key            string       `json:"key,omitempty"`   // of lease show
	Value          string       `json:"value,omitempty"` // likewise, as it lies in etcd
}

func asLeased(l subnet.Lease, cfg config.Config, now time.Time) leased {
	out := leased{Subnet: l.V4.Subnet, SubnetV6: l.V6.Subnet, PublicIP: l.V4.PublicIP, PublicIPv6: l.V6.PublicIP, Backend: l.Type,
		BackendData: l.V4.Data, BackendDataV6: l.V6.Data, Node: l.Node, Reserved: l.Reserved(), Expires: l.Expires.UTC(), Contested: l.Contest != "",
		MirrorOf: l.Mirror, Allowed: cfg.Allows(l.V4.Subnet, l.V6.Subnet), Revision: uint64(l.Rev)}
	if l.Reserved() {
		out.Expires = time.Time{}
		return out
	}
	out.ExpiresSeconds = max(int64(l.Expires.Sub(now)/time.Second), 0)
	if at := l.Expires.Add(-subnet.DefaultTTL); l.Mirror == "" && !at.After(now.Add(time.Minute)) {
		out.Renewed = at.UTC()
	}
	return out
}

// utilisation is how much of a network is leased.
type utilisation struct {
	Network    netip.Prefix `json:"network,omitzero"` // absent: there is no configuration that can be read
	NetworkV6  netip.Prefix `json:"networkV6,omitzero"`
	Subnets    int64        `json:"subnets"` // that can be leased
	Leased     int          `json:"leased"`  // of these
	Reserved   int          `json:"reserved"`
	NotAllowed int          `json:"notAllowed"` // leases beside them
}

// leaseList is what lease list prints.
type leaseList struct {
	Schema  int         `json:"schema"`
	API     string      `json:"api"`
	Prefix  string      `json:"prefix"`
	Network utilisation `json:"network"`
	Leases  []leased    `json:"leases"`
}

func listLeases(ctx context.Context, c *call) error {
	n, err := c.openNetwork(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	all, err := n.leases(ctx)
	if err != nil {
		return err
	}
	cfg, unread := n.config()
	out := leaseList{Schema: leaseSchema, API: n.api, Prefix: n.prefix, Leases: []leased{}}
	now := time.Now()
	for _, l := range all {
		as := asLeased(l, cfg, now)
		out.Leases = append(out.Leases, as)
		if as.Allowed {
			out.Network.Leased++
		} else {
			out.Network.NotAllowed++
		}
		if as.Reserved {
			out.Network.Reserved++
		}
	}
	if unread == nil {
		out.Network.Network, out.Network.NetworkV6, out.Network.Subnets = cfg.V4.Network, cfg.V6.Network, cfg.V4.Subnets()
	}
	if c.output == "json" {
		err = c.printJSON(out)
	} else {
		_, err = c.stdout.Write(leaseTable(out, now))
		if unread != nil {
			fmt.Fprintf(c.stderr, "warning: the network's configuration cannot be read: %v\n", unread)
		}
	}
	return failed(err)
}

func showLease(ctx context.Context, c *call, what string) error {
	n, err := c.openNetwork(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	l, err := n.lease(ctx, what)
	if err != nil {
		return err
	}
	value, err := n.Value(ctx, l.Key())
	if err != nil {
		return failure{err, ""}
	}
	cfg, _ := n.config() // without one nothing is allowed
	now := time.Now()
	out := asLeased(l, cfg, now)
	out.Schema, out.Key, out.Value = leaseSchema, n.prefix+"/subnets/"+wire.Key(l.Key()), value
	if c.output == "json" {
		return failed(c.printJSON(out))
	}
	_, err = c.stdout.Write(leaseDetails(out, n.api, now))
	return failed(err)
}

// noteOf says in a few words what is special about a lease.
func noteOf(l leased) string {
	var notes []string
	if !l.Allowed {
		notes = append(notes, "not allowed by the configuration")
	}
	if l.MirrorOf != "" {
		notes = append(notes, "copy of "+l.MirrorOf)
	}
	if l.Contested {
		notes = append(notes, "contested")
	}
	return strings.Join(notes, ", ")
}
