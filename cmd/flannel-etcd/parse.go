package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "FLANNEL_ETCD_"

// envName returns the variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// values are the parsed flags before they are checked.
type values struct {
	text   map[string]string // as given, else the default; booleans are true or false
	source map[string]string // flag name → "--name" or its variable; absent if neither was given
}

// parseOptions reads the arguments (without the program's name) and the
// environment. A flag wins over its variable, which wins over the default.
// Every error is a usageError; the warnings are sentences to log. local returns
// this host's addresses; it is asked only if they matter.
//
// With Help or Version nothing else is checked.
func parseOptions(args, environ []string, local func() ([]netip.Addr, error)) (options, []string, error) {
	table := flagTable()
	v, err := parseFlags(args, table)
	if err != nil {
		return options{}, nil, err
	}
	if o := (options{Help: v.text["help"] == "true", Version: v.text["version"] == "true"}); o.Help || o.Version {
		return o, nil, nil
	}
	env := readEnv(environ)
	warnings, err := v.applyEnv(env, table)
	if err != nil {
		return options{}, nil, err
	}
	if dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); dir != "" && v.source["data-dir"] == "" {
		v.text["data-dir"] = dir
	}
	o, more, err := v.options(local)
	return o, append(warnings, more...), err
}

func parseFlags(args []string, table []flagSpec) (values, error) {
	v := values{text: make(map[string]string), source: make(map[string]string)}
	fs := pflag.NewFlagSet("flannel-etcd", pflag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned, and main prints them
	fs.Usage = func() {}
	for _, s := range table {
		v.text[s.name] = s.def
		fs.String(s.name, s.def, s.help)
		if s.kind == boolean || s.kind == given {
			fs.Lookup(s.name).NoOptDefVal = "true"
		}
	}
	err := fs.Parse(doubleDashes(args))
	switch {
	case errors.Is(err, pflag.ErrHelp):
		v.text["help"] = "true"
		return v, nil
	case err != nil:
		return values{}, usageError{Msg: strings.Replace(err.Error(), "unknown flag: ", "unknown flag ", 1), Hint: "--help lists all flags"}
	case fs.NArg() > 0:
		return values{}, usageError{Msg: fmt.Sprintf("unexpected argument %q", fs.Arg(0)), Hint: "every argument is a flag; write --name=value"}
	}
	fs.Visit(func(f *pflag.Flag) {
		if err == nil {
			err = v.set(table, f.Name, f.Value.String(), "--"+f.Name)
		}
	})
	return v, err
}

// doubleDashes makes -name what --name is, as Go's flags have it.
func doubleDashes(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			out[i] = "-" + a
		}
	}
	return out
}

// set checks a value as far as its kind goes.
func (v values) set(table []flagSpec, name, value, source string) error {
	i := slices.IndexFunc(table, func(s flagSpec) bool { return s.name == name })
	bad := usageError{Msg: fmt.Sprintf("invalid value %q for %s", value, source)}
	switch s := table[i]; s.kind {
	case boolean, given:
		b, err := strconv.ParseBool(value)
		if err != nil {
			bad.Hint = "give true or false"
			return bad
		}
		if s.kind == given && !b {
			bad.Hint = "leave it out: " + s.help
			return bad
		}
		value = strconv.FormatBool(b)
	case number:
		if _, err := strconv.ParseUint(value, 10, 62); err != nil {
			bad.Hint = "give a whole number"
			return bad
		}
	}
	v.text[name], v.source[name] = value, source
	return nil
}

// readEnv returns the non-empty variables of environ.
func readEnv(environ []string) map[string]string {
	env := make(map[string]string)
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" {
			env[name] = value
		}
	}
	return env
}

// applyEnv sets every flag that the command line left alone. A variable of ours
// that no flag has is a warning.
func (v values) applyEnv(env map[string]string, table []flagSpec) (warnings []string, err error) {
	known := make(map[string]bool)
	for _, s := range table {
		name := envName(s.name)
		known[name] = true
		value, ok := env[name]
		if !ok || v.source[s.name] != "" || s.name == "help" || s.name == "version" {
			continue
		}
		if err := v.set(table, s.name, value, name); err != nil {
			return nil, err
		}
	}
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			warnings = append(warnings, "environment variable "+name+" is unknown and ignored")
		}
	}
	slices.Sort(warnings)
	return warnings, nil
}

// number returns the value of a flag of that kind, which set has checked.
func (v values) number(name string) int64 {
	n, _ := strconv.ParseInt(v.text[name], 10, 64)
	return n
}

// from names the source of a flag's value for a message.
func (v values) from(name string) string {
	if s := v.source[name]; s != "" {
		return s
	}
	return "--" + name
}
