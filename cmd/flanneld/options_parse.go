package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// flagValues are the parsed flags before they are checked, with the source
// of each for the error messages.
type flagValues struct {
	fs     *pflag.FlagSet
	source map[string]string // flag name → "--name" or "FLANNELD_NAME"; absent if neither was given
}

// parseOptions reads the arguments (without the program's name) and the
// environment (as in os.Environ). A flag wins over its variable, which wins
// over the default. Every error is a usageError; the warnings are sentences to
// log once logging works.
//
// With Help, Version or RemoveRules nothing else is checked and the environment is
// not read, so that they work on a broken machine.
func parseOptions(args, environ []string) (options, []string, error) {
	table := flagTable()
	norm, warnings, err := normalizeArgs(args, table)
	if err != nil {
		return options{}, nil, err
	}
	v := flagValues{fs: newFlagSet(table), source: make(map[string]string)}
	if err := v.fs.Parse(norm); err != nil {
		return options{}, nil, badValue(err, table)
	}
	if o := (options{Help: v.bool("help"), Version: v.bool("version"), RemoveRules: v.bool("remove-rules")}); o.Help || o.Version || o.RemoveRules {
		return o, nil, nil
	}
	v.fs.Visit(func(f *pflag.Flag) { v.source[f.Name] = "--" + f.Name })

	env := readEnv(environ)
	if err := v.applyEnv(env, table); err != nil {
		return options{}, nil, err
	}
	o, more, err := v.options(env)
	if err != nil {
		return options{}, nil, err
	}
	warnings = append(warnings, more...)
	more, err = v.checkLegacy(table)
	if err != nil {
		return options{}, nil, err
	}
	warnings = append(warnings, more...)
	return o, append(warnings, unknownEnv(env, table)...), nil
}

func newFlagSet(table []flagSpec) *pflag.FlagSet {
	fs := pflag.NewFlagSet("flanneld", pflag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned, and main prints them
	fs.Usage = func() {}
	for _, s := range table {
		switch s.kind {
		case boolean:
			fs.Bool(s.name, s.def == "true", s.help)
		case number:
			n, _ := strconv.Atoi(s.def) // the table's own literal; a test checks it
			fs.Int(s.name, n, s.help)
		case list:
			fs.StringArray(s.name, nil, s.help)
		default: // durations too: Go's parser gives the better error for them
			fs.String(s.name, s.def, s.help)
		}
	}
	return fs
}

// applyEnv sets every flag that the command line left alone. The original's
// help and version were handled before the environment, so those have none.
func (v flagValues) applyEnv(env map[string]string, table []flagSpec) error {
	for _, s := range table {
		name, value := fromEnv(env, s.name)
		if _, given := v.source[s.name]; name == "" || given || s.instead {
			continue
		}
		if err := v.fs.Set(s.name, value); err != nil {
			return usageError{
				Msg:  fmt.Sprintf("invalid value %q for %s", value, name),
				Hint: wanted(s.kind),
			}
		}
		v.source[s.name] = name
	}
	return nil
}

// badValue turns pflag's error about one argument into ours.
func badValue(err error, table []flagSpec) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return usageError{Msg: err.Error(), Hint: "--help lists all flags"}
	}
	s, _ := findFlag(table, bad.GetFlag().Name)
	return usageError{
		Msg:  fmt.Sprintf("invalid value %q for --%s", bad.GetValue(), s.name),
		Hint: wanted(s.kind),
	}
}

func wanted(k kind) string {
	switch k {
	case boolean:
		return "give true or false"
	case number:
		return "give a whole number"
	default:
		return ""
	}
}

// The getters cannot fail: a test reads every flag of the table with the
// getter of its kind.

func (v flagValues) bool(name string) bool {
	b, _ := v.fs.GetBool(name)
	return b
}

func (v flagValues) int(name string) int {
	n, _ := v.fs.GetInt(name)
	return n
}

func (v flagValues) text(name string) string {
	s, _ := v.fs.GetString(name)
	return s
}

// list leaves out empty elements: --iface=$IFACE with IFACE unset means the
// default, as it did when the flag took one value.
func (v flagValues) list(name string) []string {
	all, _ := v.fs.GetStringArray(name)
	var out []string
	for _, s := range all {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// from names the source of a flag's value for a message.
func (v flagValues) from(name string) string {
	if s, ok := v.source[name]; ok {
		return s
	}
	return "--" + name
}

// checkLegacy returns one warning for each flag that was set to something
// this daemon does not do, or an error if that must not be passed over.
func (v flagValues) checkLegacy(table []flagSpec) ([]string, error) {
	var warnings []string
	for _, s := range table {
		from, given := v.source[s.name]
		f := v.fs.Lookup(s.name)
		if s.legacy == "" || !given || s.quiet || f.Value.String() == f.DefValue {
			continue
		}
		if s.kind == text && f.Value.String() == "" {
			continue // as good as unset
		}
		if s.refuse != "" {
			return nil, usageError{Msg: from + " " + s.legacy, Hint: s.refuse}
		}
		warnings = append(warnings, from+" "+s.legacy)
	}
	return warnings, nil
}
