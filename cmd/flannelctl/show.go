package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"flanneld/cmd/internal/status"
	"flanneld/pkg/words"
	"flanneld/subnet"
)

// mostErrors is how many of the last warnings and errors fit on one screen.
const mostErrors = 5

// trouble returns what is wrong with a host though it may be ready, each "part: why".
func trouble(s status.Status) (list []string) {
	if s.Lease.State == subnet.AtRisk.String() {
		list = append(list, "lease: at risk: "+plain(s.Lease.Reason))
	}
	for _, c := range conditions(s) {
		if c.State == status.Failing || c.State == status.Degraded {
			list = append(list, fmt.Sprintf("%s: %s: %s", c.part, c.State, plain(c.Reason)))
		}
	}
	if s.Etcd.WatchFailing {
		list = append(list, "etcd: changes of other hosts do not arrive")
	}
	if s.Peers.Kept > 0 {
		list = append(list, fmt.Sprintf("etcd: it has lost the leases of %s, which are kept", count(s.Peers.Kept, "host")))
	}
	return list
}

type condition struct {
	part string
	status.Condition
}

func conditions(s status.Status) []condition {
	return []condition{{"etcd", s.Etcd.Condition}, {"config", s.Config}, {"datapath", s.Datapath}, {"firewall", s.Firewall},
		{"subnetFile", s.SubnetFile}, {"dockerBridge", s.DockerBridge}, {"forwarding", s.Forwarding}}
}

// verdict says in one line how a host is.
func verdict(s status.Status) string {
	wrong := trouble(s)
	switch {
	case !s.Ready:
		return "not ready: " + plain(s.Text)
	case len(wrong) > 0:
		return "ready, with trouble: " + strings.Join(wrong, "; ")
	}
	return "ready: " + plain(s.Text)
}

// printStatus prints one screen.
func printStatus(w io.Writer, s status.Status) error {
	switch wrong := trouble(s); {
	case !s.Ready:
		fmt.Fprintln(w, verdict(s))
		for _, why := range s.NotReady {
			fmt.Fprintln(w, "  "+plain(why))
		}
	case len(wrong) > 0:
		fmt.Fprintln(w, "ready, with trouble")
		for _, why := range wrong {
			fmt.Fprintln(w, "  "+why)
		}
	default:
		fmt.Fprintln(w, verdict(s))
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tSTATE\tSINCE\tABOUT")
	for _, r := range rows(s) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.part, orDash(string(r.State)), age(s.Time, r.Since), orDash(strings.Join(r.about, ", ")))
	}
	err := table.Flush()
	if last := s.Errors; len(last) > 0 {
		fmt.Fprintln(w, "\nLast warnings and errors:")
		for _, e := range last[max(len(last)-mostErrors, 0):] {
			fmt.Fprintf(w, "  %s ago  %s  %s", age(s.Time, e.Time), e.Level, clean(strings.TrimPrefix(e.Part+": "+e.Text, ": ")))
			if e.Count > 1 {
				fmt.Fprintf(w, " (%d times)", e.Count)
			}
			fmt.Fprintln(w)
		}
	}
	if s.PID == 0 {
		fmt.Fprintln(w, "\nThis is what files say. hint: systemctl status flanneld; journalctl -u flanneld")
	}
	return err
}

// row is one line of the table.
type row struct {
	condition
	about list
}

// list is what is said of a part.
type list []string

func (l *list) add(known bool, format string, args ...any) {
	if known {
		*l = append(*l, fmt.Sprintf(format, args...))
	}
}

// rows returns what is known of each part.
func rows(s status.Status) (all []row) {
	add := func(part string, c status.Condition, about list) {
		if c.State != "" && (s.PID != 0 || c.State != status.Waiting) || len(about) > 0 {
			about.add(c.Reason != "", "%s", clean(c.Reason))
			all = append(all, row{condition{part, c}, about})
		}
	}
	var daemon list
	daemon.add(s.Version != "", "%s", s.Version)
	daemon.add(s.PID != 0, "process %d", s.PID)
	daemon.add(s.Prefix != "", "etcd prefix %s", clean(s.Prefix))
	running := status.Condition{State: "does not run"}
	if s.PID != 0 {
		running = status.Condition{State: "runs", Since: s.Started}
	}
	add("daemon", running, daemon)
	add("lease", status.Condition{State: status.State(s.Lease.State), Since: s.Lease.Since, Reason: s.Lease.Reason}, aboutLease(s))
	var network, backend, underlay, etcd list
	network.add(s.Network.Network.IsValid(), "%s", s.Network.Network)
	network.add(s.Network.NetworkV6.IsValid(), "%s", s.Network.NetworkV6)
	network.add(s.Network.Subnets > 0, "%d of %d subnets leased", s.Network.Leases, s.Network.Subnets)
	add("network", status.Condition{}, network)
	backend.add(s.Backend.Type != "", "%s", clean(s.Backend.Type))
	backend.add(s.Backend.Path != "", "by the %s path", s.Backend.Path)
	backend.add(s.Backend.Kernel != "", "kernel=%s", clean(s.Backend.Kernel))
	backend.add(s.Backend.Device != "", "device %s", s.Backend.Device)
	backend.add(s.Backend.MTU != 0, "MTU %d", s.Backend.MTU)
	add("backend", status.Condition{}, backend)
	u := s.Underlay
	underlay.add(u.Interface != "", "%s", joined(u.Interface, u.Address, u.AddressV6))
	underlay.add(u.MTU != 0, "MTU %d", u.MTU)
	add("underlay", status.Condition{Since: u.Since}, underlay)
	if s.PID != 0 {
		add("peers", status.Condition{State: status.State(fmt.Sprintf("%d of %d", s.Peers.Programmed, s.Peers.Wanted))}, aboutPeers(s.Peers))
	}
	etcd.add(s.Etcd.API != "", "API %s", s.Etcd.API)
	etcd.add(!s.Etcd.LastAnswer.IsZero(), "last answer %s ago", age(s.Time, s.Etcd.LastAnswer))
	etcd.add(s.Etcd.FromCache, "no answer since the start")
	for _, c := range conditions(s) {
		if c.part == "etcd" {
			add(c.part, c.Condition, etcd)
		} else {
			add(c.part, c.Condition, nil)
		}
	}
	return all
}

func aboutLease(s status.Status) (about list) {
	l := s.Lease
	about.add(l.Subnet.IsValid() || l.SubnetV6.IsValid(), "%s", strings.TrimPrefix(joined("", l.Subnet, l.SubnetV6), " "))
	about.add(l.PublicIP.IsValid() || l.PublicIPv6.IsValid(), "as%s", joined("", l.PublicIP, l.PublicIPv6))
	about.add(l.Reserved, "reserved")
	about.add(!l.Renewed.IsZero(), "renewed %s ago", age(s.Time, l.Renewed))
	switch {
	case l.Expires.IsZero():
	case l.Expires.After(s.Time):
		about.add(true, "ends in %s", age(l.Expires, s.Time))
	default:
		about.add(true, "ended %s ago", age(s.Time, l.Expires))
	}
	return about
}

func aboutPeers(p status.Peers) (about list) {
	about.add(p.Failed > 0, "%d failed", p.Failed)
	about.add(p.Skipped > 0, "%d skipped", p.Skipped)
	about.add(p.Pending > 0, "%d pending", p.Pending)
	about.add(p.Ignored > 0, "%s ignored", count(p.Ignored, "lease"))
	about.add(p.Kept > 0, "%d kept", p.Kept)
	return about
}

// joined is text with what is known of two values behind it.
func joined[T netip.Addr | netip.Prefix](text string, values ...T) string {
	var zero T
	for _, v := range values {
		if v != zero {
			text += fmt.Sprintf(" %v", v)
		}
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is the time from one moment to another, in the largest unit of which there are two.
func age(to, from time.Time) string {
	if from.IsZero() {
		return "-"
	}
	switch d := max(to.Sub(from), 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// plain makes one line of what others have written, for a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// clean makes a short one, for a table.
func clean(s string) string { return words.Clip(plain(s)) }
