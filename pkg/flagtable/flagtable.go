// Package flagtable is a table over the flags of pflag. It adds what pflag does
// not know: one dash before a long name, as Go's flag package reads it, variables
// of the environment, hints, and flags of older releases. It decides which of
// several values counts, and what an error and the help say. It does not know any
// flag.
package flagtable

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// Flag is one row of the table.
type Flag struct {
	Name    string
	Bool    bool   // takes its value after "=" only; without one it is true
	Default string // as one would write it
	Arg     string // what help calls the value; not for booleans
	Group   string // heading in help; not for legacy flags
	Help    string

	// Set takes a value, for each time that the flag is given, or the default
	// if that is not empty. Nil for legacy flags.
	Set Setter

	Vars    []string // other variables, which count where neither the flag nor its own is given
	Instead bool     // asks for something else than the program's work, and has no variable
	Dashes  bool     // the value may look like a flag

	// Legacy says why a flag kept from older releases does nothing; it completes
	// the sentence "--name ...". Empty: the flag works.
	Legacy string
	Quiet  bool // a legacy flag that never warns: every value describes what happens anyway
	// Refuse makes an error of a legacy flag that is not at its default, with this
	// hint: going on would do something else than the operator means.
	Refuse string
}

// Table is the flags of a program, in the order in which help lists them.
type Table struct {
	Prefix string // of variables, such as "FLANNELD_"
	Flags  []Flag
	Meant  map[string]string // hints for names that people try and no flag has; may be nil
}

// Error is a mistake in how a program was called.
type Error struct {
	Msg  string // what is wrong
	Hint string // what to do about it; may be empty
}

func (e Error) Error() string { return e.Msg }

// Given says which flags were given and how: "--name" or a variable, by the
// flag's name.
type Given map[string]string

// From names the source of a flag's value for a message.
func (g Given) From(name string) string {
	if from, ok := g[name]; ok {
		return from
	}
	return "--" + name
}

// Parse sets the flags from the arguments (without the program's name) and the
// environment. A flag wins over its variable, which wins over the default. Every
// error is an Error; the warnings are sentences.
//
// If a flag is given that asks for something else, only that is set, and nothing
// else is checked, so that it works on a broken machine.
func (t Table) Parse(args []string, env Env) (Given, []string, error) {
	fs := t.flagSet()
	values, warnings, err := arguments(fs, args)
	if err != nil {
		return nil, nil, t.meant(err)
	}
	given := make(Given)
	for _, row := range t.Flags {
		if row.Instead && fs.Lookup(row.Name).Value.String() == "true" {
			return given, nil, nil
		}
	}
	for _, row := range t.Flags {
		f := fs.Lookup(row.Name)
		v, all := f.Value.(*value), values[row.Name]
		if name := t.variable(env, row); len(all) == 0 && name != "" {
			v.from, all = name, []string{env[name]}
		}
		for _, text := range all {
			if err := fs.Set(row.Name, text); err != nil {
				return nil, nil, Explain(fs, err)
			}
		}
		if f.Changed {
			given[row.Name] = v.from
		} else if row.Default != "" {
			if err := v.Set(row.Default); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case row.Legacy == "" || row.Quiet || v.text == "" || v.text == f.DefValue:
		case row.Refuse != "":
			return nil, nil, Error{Msg: v.from + " " + row.Legacy, Hint: row.Refuse}
		default:
			warnings = append(warnings, v.from+" "+row.Legacy)
		}
	}
	return given, append(warnings, env.unknown(t, fs)...), nil
}

// meant gives the error of an unknown flag the hint that the table has for it.
func (t Table) meant(err error) error {
	e, _ := errors.AsType[Error](err)
	for name, hint := range t.Meant {
		if e.Msg == unknownMsg(name) {
			return Error{Msg: e.Msg, Hint: hint}
		}
	}
	return err
}

// flagSet returns the rows as flags, which end at the first argument that is none.
func (t Table) flagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.SortFlags = false
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name {
		case "h":
			name = "help"
		case "V":
			name = "version"
		}
		return pflag.NormalizedName(name)
	})
	t.Add(fs)
	return fs
}

// Add adds the flags to a set that somebody else parses, such as that of a command. Then
// Complete sets the rest, and Explain makes an Error of what pflag found wrong.
func (t Table) Add(fs *pflag.FlagSet) {
	for _, row := range t.Flags {
		v := &value{Flag: row, from: "--" + row.Name, text: row.Default}
		if row.Bool && row.Default == "" {
			v.text = "false"
		}
		if f := fs.VarPF(v, row.Name, "", row.Help); row.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// Complete sets the flags that were not given: from the environment, or to the default.
func (t Table) Complete(fs *pflag.FlagSet, env Env) (Given, error) {
	given := make(Given)
	for _, row := range t.Flags {
		f := fs.Lookup(row.Name)
		v := f.Value.(*value)
		if name := t.variable(env, row); !f.Changed && name != "" {
			v.from = name
			if err := fs.Set(row.Name, env[name]); err != nil {
				return nil, Explain(fs, err)
			}
		}
		if f.Changed {
			given[row.Name] = v.from
		} else if row.Default != "" {
			if err := v.Set(row.Default); err != nil {
				return nil, err
			}
		}
	}
	return given, nil
}

// Variable returns the variable that stands for a flag.
func (t Table) Variable(flag string) string {
	return t.Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variable returns the variable that sets a flag in this environment, or "".
func (t Table) variable(env Env, f Flag) string {
	for _, name := range append([]string{t.Variable(f.Name)}, f.Vars...) {
		if env[name] != "" && !f.Instead {
			return name
		}
	}
	return ""
}
