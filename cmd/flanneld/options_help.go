package main

import (
	"fmt"
	"strings"
)

const (
	helpWidth  = 80 // columns, of the terminals that --help is read on
	helpIndent = 8  // columns before a flag's description
)

// usage is the text of --help. Its first line is the original's.
func usage(argv0 string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [OPTION]...\n", argv0)
	group := ""
	for _, s := range liveFlags() {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "  %s\n", spelling(s))
		about := s.help
		if s.def != "" {
			about += " (default " + s.def + ")"
		}
		wrap(&b, about, helpIndent)
	}
	b.WriteString("\n")
	wrap(&b, "-x and --x mean the same, and so do --x=VALUE and --x VALUE; booleans take their value after = only. "+
		"Every flag but help, version and remove-rules can also be given in the environment: "+envName("etcd-endpoints")+" stands for --etcd-endpoints, and so on. "+
		"A flag wins over its variable; an empty variable counts as unset.", 0)
	b.WriteString("\n")
	wrap(&b, "Known from older releases, without effect or refused with a reason: "+strings.Join(flagNames(legacyFlags()), ", ")+".", 0)
	return b.String()
}

func spelling(s flagSpec) string {
	dashes := "--"
	if len(s.name) == 1 {
		dashes = "-" // how everybody writes -v
	}
	if s.kind == boolean {
		return dashes + s.name
	}
	return dashes + s.name + "=" + metavar(s)
}

// wrap writes text in lines of at most helpWidth columns, unless one word is
// longer than that.
func wrap(b *strings.Builder, text string, indent int) {
	pad := strings.Repeat(" ", indent)
	col := 0
	for _, word := range strings.Fields(text) {
		switch {
		case col == 0:
			b.WriteString(pad)
			col = indent
		case col+1+len(word) > helpWidth:
			b.WriteString("\n" + pad)
			col = indent
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	b.WriteByte('\n')
}
