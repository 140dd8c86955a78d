// Package iptables keeps rules in tables that others use as well, by the programs of
// iptables(8), whichever of its two flavours the host uses. It reads all rules at once,
// compares them with those that are wanted, and writes the difference in one step for
// each table, or nothing. It never touches a rule unless it is certainly the caller's.
// It does not know what the rules are for.
package iptables

import (
	"fmt"
	"slices"
	"strings"

	"flanneld/pkg/firewall"
)

// Ruleset is what iptables-save(8) prints of all tables, by name. One that it cannot
// print is nil.
type Ruleset map[string]Table

// Table is the chains of a table, by name.
type Table map[string][]Entry

// Entry is a rule, and how iptables-save prints it.
type Entry struct {
	Rule firewall.Rule
	Text string
}

// arguments returns the rule as iptables-restore reads it, which understands quotes in
// the name of an interface otherwise than iptables-save prints them.
func (e Entry) arguments() string {
	if strings.Contains(e.Rule.In.Name+e.Rule.Out.Name, `"`) {
		return e.Rule.String()
	}
	return e.Text
}

// Parse reads what iptables-save prints. Lines that it does not know are passed
// over.
func Parse(saved string) Ruleset {
	set := make(Ruleset)
	var table Table
	for line := range strings.Lines(saved) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "# Table `"):
			// The flavour nf_tables prints this; see Unreadable.
			if name, ok := strings.CutSuffix(line[len("# Table `"):], "' is incompatible, use 'nft' tool."); ok && set[name] == nil {
				set[name] = nil
			}
		case strings.HasPrefix(line, "*"):
			table = make(Table)
			set[line[1:]] = table
		case table == nil:
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			if _, have := table[name]; !have && name != "" {
				table[name] = nil
			}
		case strings.HasPrefix(line, "-A "):
			name, text, _ := strings.Cut(line[len("-A "):], " ")
			if name != "" {
				table[name] = append(table[name], Entry{firewall.ParseRule(text), text})
			}
		case line == "COMMIT":
			table = nil
		}
	}
	return set
}

// Unreadable returns an error if somebody has put rules into the table with nft(8) that
// iptables cannot read. It must not be changed: iptables-save would not show the change,
// which would be made again and again.
func (s Ruleset) Unreadable(table string) error {
	if t, there := s[table]; !there || t != nil {
		return nil
	}
	return fmt.Errorf("table %s has rules that iptables cannot read, made with nft (see them with nft list ruleset, and move them to a table of their own)", table)
}

// builtin reports whether the chain is there even if the table was never used.
func builtin(chain string) bool {
	return slices.Contains([]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, chain)
}
