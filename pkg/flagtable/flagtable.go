// Package flagtable reads a program's flags by a table: from arguments as Go's
// flag package reads them (-x, --x, -x=v, -x v), and from the environment. It
// decides which of several values counts, and what an error and the help say. It
// does not know any flag.
package flagtable

import (
	"strconv"
	"strings"
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
	values, warnings, err := t.arguments(args)
	if err != nil {
		return nil, nil, err
	}
	given := make(Given)
	for name := range values {
		given[name] = "--" + name
	}
	for _, f := range t.Flags {
		if all := values[f.Name]; f.Instead && len(all) > 0 {
			if err := f.set(all, given[f.Name]); err != nil {
				return nil, nil, err
			}
			if all[len(all)-1] == "true" {
				return given, nil, nil
			}
		}
	}
	for _, f := range t.Flags {
		all := values[f.Name]
		if len(all) == 0 && !f.Instead {
			if name, value := t.lookup(env, f); name != "" {
				given[f.Name], all = name, []string{value}
			} else if f.Default != "" {
				all = []string{f.Default}
			}
		}
		if err := f.set(all, given.From(f.Name)); err != nil {
			return nil, nil, err
		}
		warning, err := f.legacy(all, given.From(f.Name))
		if err != nil {
			return nil, nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return given, append(warnings, env.unknown(t)...), nil
}

// set takes the values one after the other, and writes those of a boolean as
// "true" or "false".
func (f Flag) set(values []string, from string) error {
	for i, v := range values {
		if f.Bool {
			on, err := strconv.ParseBool(v)
			if err != nil {
				return Invalid(v, from, "give true or false")
			}
			values[i] = strconv.FormatBool(on)
		}
		if f.Set == nil {
			continue
		}
		if err := f.Set(values[i], from); err != nil {
			return err
		}
	}
	return nil
}

// legacy returns a warning about a flag that does nothing here and is set to
// something else than its default, or an error if that must not be passed over.
func (f Flag) legacy(values []string, from string) (string, error) {
	if f.Legacy == "" || f.Quiet || len(values) == 0 {
		return "", nil
	}
	switch value := values[len(values)-1]; {
	case value == "", value == f.Default, f.Bool && f.Default == "" && value == "false":
		return "", nil
	case f.Refuse != "":
		return "", Error{Msg: from + " " + f.Legacy, Hint: f.Refuse}
	}
	return from + " " + f.Legacy, nil
}

func (t Table) find(name string) (Flag, bool) {
	for _, f := range t.Flags {
		if f.Name == name {
			return f, true
		}
	}
	return Flag{}, false
}

func (t Table) names() []string {
	var names []string
	for _, f := range t.Flags {
		names = append(names, f.Name)
	}
	return names
}

// Variable returns the variable that stands for a flag.
func (t Table) Variable(flag string) string {
	return t.Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// lookup returns a flag's value in the environment, and the variable's name;
// empty if there is none.
func (t Table) lookup(env Env, f Flag) (name, value string) {
	for _, name := range append([]string{t.Variable(f.Name)}, f.Vars...) {
		if value, ok := env[name]; ok {
			return name, value
		}
	}
	return "", ""
}
