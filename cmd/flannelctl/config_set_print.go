package main

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
)

// configChange is what config set prints.
type configChange struct {
	Schema   int          `json:"schema"`
	API      string       `json:"api"`
	Key      string       `json:"key"`
	Revision uint64       `json:"revision"` // of the document before
	DryRun   bool         `json:"dryRun"`
	Forced   bool         `json:"forced"`
	Changed  bool         `json:"changed"`          // the document was written
	Before   *string      `json:"before,omitempty"` // absent: there was none
	Document string       `json:"document"`
	Differs  []string     `json:"differs"` // for a host
	Restart  bool         `json:"restart"` // hosts need one to go by it
	Hosts    []hostChange `json:"hosts"`
	Refused  []reason     `json:"refused"`
	Notes    []string     `json:"notes"`
	Warnings []string     `json:"warnings"`
	Config   *meaning     `json:"config"`
}

func (c *configChange) add(j judgement) {
	c.Differs, c.Hosts, c.Refused = append([]string{}, j.differs...), append([]hostChange{}, j.hosts...), append([]reason{}, j.refused...)
	c.Notes = append(append([]string{}, c.Notes...), j.notes...)
	c.Restart = len(j.hosts) > 0 && (len(j.differs) > 0 || c.Before == nil)
}

// print prints what was done, or would be. The error is that it was refused.
func (s *configSet) print(c configChange) error {
	var err error
	if s.output == "json" {
		err = s.printJSON(c)
	} else {
		_, err = s.stdout.Write(c.text())
	}
	if err != nil {
		return failure{err, ""}
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(s.stderr, "warning: the new document: %s\n", plain(w))
	}
	if len(c.Refused) == 0 || s.force {
		return nil
	}
	for _, r := range c.Refused[1:] {
		fmt.Fprintf(s.stderr, "error: %s\nhint: %s\n", r.Message, r.Hint)
	}
	return failure{fmt.Errorf("%s", c.Refused[0].Message), c.Refused[0].Hint}
}

// text is the change as a person reads it.
func (c configChange) text() []byte {
	w := new(bytes.Buffer)
	fmt.Fprintf(w, "%s, API %s", c.Key, c.API)
	before := ""
	if c.Before != nil {
		before = *c.Before
		fmt.Fprintf(w, ", revision %d", c.Revision)
	}
	fmt.Fprintln(w)
	if before != c.Document {
		fmt.Fprintf(w, "\n%s", lineDiff(shown(before), shown(c.Document)))
	}
	fmt.Fprintln(w)
	for _, d := range c.Differs {
		fmt.Fprintln(w, d)
	}
	c.hostTable(w)
	for _, n := range c.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	for _, r := range c.Refused {
		if c.Forced {
			fmt.Fprintf(w, "forced: %s\n", r.Message)
		}
	}
	switch {
	case c.Changed:
		fmt.Fprintf(w, "written: %s\n", c.Config)
	case before == c.Document:
		fmt.Fprintln(w, "it is so already; nothing was written")
	default:
		fmt.Fprintln(w, "nothing was written")
	}
	return w.Bytes()
}

// hostTable says what becomes of each host. A restart that changes nothing is not worth it.
func (c configChange) hostTable(w *bytes.Buffer) {
	const most = 20 // lines, on a screen; JSON has all
	if len(c.Hosts) == 0 || !c.Restart {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SUBNET\tPUBLIC IP\tBACKEND\tAFTER A RESTART")
	for _, h := range c.Hosts[:min(len(c.Hosts), most)] {
		then := "keeps its subnet"
		if !h.Keeps {
			then = "takes another subnet: " + h.Why
		}
		if backend := c.Config.Backend.Type; h.Backend != "" && h.Backend != backend {
			then += "; " + backend
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", joined(h.Subnet.String(), h.SubnetV6), h.PublicIP, orDash(clean(h.Backend)), then)
	}
	_ = table.Flush() // to memory
	if more := c.Hosts[min(len(c.Hosts), most):]; len(more) > 0 {
		moved := 0
		for _, h := range more {
			moved += 1 - btoi(h.Keeps)
		}
		fmt.Fprintf(w, "and %d more, of which %d take another subnet\n", len(more), moved)
	}
}

// lineDiff is what differs between two documents, line by line: what both begin and end with
// is printed once.
func lineDiff(a, b string) string {
	before, after := documentLines(a), documentLines(b)
	head := 0
	for head < min(len(before), len(after)) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < min(len(before), len(after))-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	var w strings.Builder
	put := func(sign string, lines []string) {
		for _, l := range lines {
			w.WriteString(sign + l + "\n")
		}
	}
	put("  ", before[:head])
	put("- ", before[head:len(before)-tail])
	put("+ ", after[head:len(after)-tail])
	put("  ", before[len(before)-tail:])
	return w.String()
}

func documentLines(s string) []string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
