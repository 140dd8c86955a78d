package main

import (
	"bytes"
	"fmt"
	"text/tabwriter"
	"time"

	"flanneld/subnet/mirror"
)

// planned is a plan as JSON.
type planned struct {
	Schema   int              `json:"schema"`
	From     string           `json:"from"`
	To       string           `json:"to"`
	DryRun   bool             `json:"dryRun"`
	Config   string           `json:"configuration"` // copy or keep
	Leases   []plannedLease   `json:"leases"`
	Written  int              `json:"written"` // leases
	Problems []mirror.Problem `json:"problems"`
}

type plannedLease struct {
	Subnet   string `json:"subnet"`
	PublicIP string `json:"publicIP"`
	Node     string `json:"node,omitempty"`
	To       string `json:"to"`
	Action   string `json:"action"` // copy, update or keep
	Reserved bool   `json:"reserved"`
	Seconds  int    `json:"seconds,omitempty"` // that the copy lives
}

func (m *migration) asJSON(p mirror.Plan, written int) planned {
	out := planned{Schema: schema, From: m.from, To: m.to, DryRun: !m.yes, Config: mirror.Keep, Leases: []plannedLease{}, Written: written, Problems: p.Problems}
	if p.Config {
		out.Config = mirror.Copy
	}
	if out.Problems == nil {
		out.Problems = []mirror.Problem{}
	}
	for _, i := range p.Items {
		out.Leases = append(out.Leases, plannedLease{Subnet: i.Lease.Key().String(), PublicIP: i.Lease.V4.PublicIP.String(), Node: i.Lease.Node,
			To: i.To, Action: i.Do, Reserved: i.Lease.Reserved(), Seconds: int(i.TTL / time.Second)})
	}
	return out
}

// printPlan prints what is to be done, or was, as far as it got.
func (m *migration) printPlan(p mirror.Plan, written int, whole bool) error {
	if m.output == "json" {
		return m.printJSON(m.asJSON(p, written))
	}
	w := new(bytes.Buffer)
	if p.Config {
		fmt.Fprintf(w, "configuration: to be copied to %s\n", m.to)
	} else {
		fmt.Fprintf(w, "configuration: the same on %s and %s\n", m.from, m.to)
	}
	done := make(map[string]int)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SUBNET\tHOST\tTO\tACTION\tCOPY LIVES")
	for _, i := range p.Items {
		done[i.Do]++
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", i.Lease.Key(), mirror.Who(i.Lease), i.To, i.Do, life(i))
	}
	if len(p.Items) > 0 {
		_ = table.Flush() // to memory
	}
	printProblems(w, p.Problems)
	todo := done[mirror.Copy] + done[mirror.Update]
	switch {
	case m.yes && !whole:
		if written > 0 {
			fmt.Fprintf(w, "%d of %s copied to %s\n", written, count(todo, "lease"), m.to)
		}
	case m.yes && len(p.Conflicts()) == 0:
		fmt.Fprintf(w, "%s copied to %s, %d as they were\n", count(written, "lease"), m.to, done[mirror.Keep])
	case !m.yes:
		fmt.Fprintf(w, "%s to be copied, %d there already; nothing was written\n", count(todo, "lease"), done[mirror.Keep])
		if m.mirror || len(p.Conflicts()) == 0 && (todo > 0 || p.Config) {
			fmt.Fprintln(w, "hint: run it again with --yes")
		}
	}
	_, err := m.stdout.Write(w.Bytes())
	return err
}

// life says how long a copy lives.
func life(i mirror.Item) string {
	switch {
	case i.Do == mirror.Keep:
		return "-"
	case i.TTL == 0:
		return "for ever"
	}
	return i.TTL.Round(time.Minute).String()
}

func printProblems(w *bytes.Buffer, problems []mirror.Problem) {
	for _, p := range problems {
		what := "note"
		if p.Conflict {
			what = "conflict"
		}
		fmt.Fprintf(w, "%s: %s\n", what, p.Why)
		if p.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", p.Hint)
		}
	}
}

// printReport says what stands where at the end of a mirror.
func (m *migration) printReport(r mirror.Report) error {
	if m.output == "json" {
		return m.printJSON(struct {
			Schema int `json:"schema"`
			mirror.Report
		}{schema, r})
	}
	w := new(bytes.Buffer)
	d := r.Done
	fmt.Fprintf(w, "%s made, %d updated, %d removed; %s moved\n", count(d.Created, "copy", "copies"), d.Updated, d.Removed, count(d.Moved, "host"))
	for i, s := range r.Sides {
		fmt.Fprintf(w, "%s: %s, %s of %s", s.Name, count(len(s.Hosts), "host"), count(s.Copies, "copy", "copies"), r.Sides[1-i].Name)
		if !s.Until.IsZero() {
			fmt.Fprintf(w, ", the first of which ends at %s", s.Until.UTC().Format(time.DateTime+" MST"))
		}
		if s.Left > 0 {
			fmt.Fprintf(w, ", %s whose original is gone", count(s.Left, "copy", "copies"))
		}
		fmt.Fprintln(w)
		for _, h := range s.Hosts {
			fmt.Fprintf(w, "  %s\n", h)
		}
	}
	printProblems(w, r.Problems)
	switch from, to := r.Sides[0], r.Sides[1]; {
	case len(from.Hosts) > 0 && len(to.Hosts) > 0:
		fmt.Fprintf(w, "hint: there are hosts on both sides, which lose each other when the copies end: start it again before that\n")
	case len(from.Hosts) == 0 && len(to.Hosts) > 0:
		fmt.Fprintf(w, "hint: all hosts are on %s: nothing is needed of %s any more\n", to.Name, from.Name)
	}
	_, err := m.stdout.Write(w.Bytes())
	return err
}
