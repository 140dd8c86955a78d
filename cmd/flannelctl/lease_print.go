package main

import (
	"bytes"
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"
)

// leaseTable is the list with the utilisation behind it.
func leaseTable(list leaseList, now time.Time) []byte {
	w := new(bytes.Buffer)
	if len(list.Leases) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SUBNET\tPUBLIC IP\tBACKEND\tNODE\tRENEWED\tEXPIRES\tNOTE")
		for _, l := range list.Leases {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", joinedSubnets(l), l.PublicIP, orDash(clean(l.Backend)), orDash(clean(l.Node)),
				ago(now, l.Renewed), orNever(l, now), orDash(noteOf(l)))
		}
		_ = table.Flush() // to memory
	}
	u := list.Network
	if !u.Network.IsValid() {
		fmt.Fprintf(w, "%s on %s\n", count(len(list.Leases), "lease"), list.API)
		return w.Bytes()
	}
	fmt.Fprintf(w, "%s on %s: %d of %s leased (%d %%)", u.Network, list.API, u.Leased, count(int(u.Subnets), "subnet"), int64(u.Leased)*100/u.Subnets)
	if u.Reserved > 0 {
		fmt.Fprintf(w, ", %d reserved", u.Reserved)
	}
	if u.NotAllowed > 0 {
		fmt.Fprintf(w, "; %s not allowed by the configuration", count(u.NotAllowed, "lease is", "leases are"))
	}
	fmt.Fprintln(w)
	return w.Bytes()
}

// leaseDetails is one lease, a line for each thing that is known.
func leaseDetails(l leased, api string, now time.Time) []byte {
	w := new(bytes.Buffer)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	line("subnet", joinedSubnets(l))
	line("PublicIP", joined(l.PublicIP.String(), l.PublicIPv6))
	line("backend", cmp.Or(plain(l.Backend), "udp or alloc, which write none"))
	line("backend data", plain(l.BackendData))
	line("backend data, IPv6", plain(l.BackendDataV6))
	line("node", cmp.Or(l.Node, "none: its host has an older release"))
	if l.Reserved {
		line("expires", "never: it is a reservation")
	} else {
		line("expires", l.Expires.Format(time.DateTime+" MST")+", in "+age(l.Expires, now))
	}
	if !l.Renewed.IsZero() {
		line("renewed", l.Renewed.Format(time.DateTime+" MST")+", "+age(now, l.Renewed)+" ago")
	}
	line("note", noteOf(l))
	line("etcd", fmt.Sprintf("API %s, revision %d", api, l.Revision))
	line("key", plain(l.Key))
	line("value", plain(l.Value))
	_ = table.Flush() // to memory
	return w.Bytes()
}

func joinedSubnets(l leased) string { return joined(l.Subnet.String(), l.SubnetV6) }

// ago says how long ago something was; "-" if that is not known.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return age(now, then) + " ago"
}

func orNever(l leased, now time.Time) string {
	if l.Reserved {
		return "never"
	}
	return "in " + age(l.Expires, now)
}
