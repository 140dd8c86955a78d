package flagtable

import (
	"fmt"
	"strings"

	"flanneld/pkg/words"
)

const (
	helpWidth  = 80 // columns, of the terminals that --help is read on
	helpIndent = 8  // columns before a flag's description
)

// Help describes every flag, and how to give one.
func Help(t Table) string {
	var b strings.Builder
	var legacy, instead []string
	group := ""
	for _, f := range t.Flags {
		if f.Legacy != "" {
			legacy = append(legacy, f.Name)
			continue
		}
		if f.Instead {
			instead = append(instead, f.Name)
		}
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "  %s\n%s", f.Spelling(), words.Wrap(f.About(), helpWidth, helpIndent))
	}
	last := len(instead) - 1
	b.WriteString("\n" + words.Wrap("-x and --x mean the same, and so do --x=VALUE and --x VALUE; booleans take their value after = only. "+
		"Every flag but "+strings.Join(instead[:last], ", ")+" and "+instead[last]+" can also be given in the environment: "+
		t.Variable(t.Flags[0].Name)+" stands for --"+t.Flags[0].Name+", and so on. "+
		"A flag wins over its variable; an empty variable counts as unset.", helpWidth, 0))
	b.WriteString("\n" + words.Wrap("Known from older releases, without effect or refused with a reason: "+strings.Join(legacy, ", ")+".", helpWidth, 0))
	return b.String()
}

// About is the flag's description with its default.
func (f Flag) About() string {
	if f.Default == "" {
		return f.Help
	}
	return f.Help + " (default " + f.Default + ")"
}

// Spelling is the flag as one would write it: "--name=VALUE".
func (f Flag) Spelling() string {
	dashes := "--"
	if len(f.Name) == 1 {
		dashes = "-" // how everybody writes -v
	}
	if f.Bool {
		return dashes + f.Name
	}
	return dashes + f.Name + "=" + f.Type()
}

// Type is what help and hints call the value.
func (f Flag) Type() string {
	if f.Arg != "" {
		return f.Arg
	}
	return "VALUE"
}
