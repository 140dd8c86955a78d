package main

import (
	"fmt"
	"strconv"
	"strings"
)

// normalizeArgs rewrites arguments as Go's flag package reads them (-x, --x,
// -x=v, -x v) to the one form pflag reads the same way: --x=v. Reading stops
// with success at a bare help flag, as the original's did, so that a mistake
// after it does not hide the help.
//
// It returns a usageError for an unknown flag, a missing value or a
// positional argument, and one warning for each value that looks like a flag.
func normalizeArgs(args []string, table []flagSpec) (out, warnings []string, err error) {
	prev := "" // the boolean flag just read without a value, if any
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			if i+1 < len(args) {
				return nil, nil, positional(args[i+1], "")
			}
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			return nil, nil, positional(arg, prev)
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "" || name[0] == '-' {
			return nil, nil, usageError{
				Msg:  fmt.Sprintf("malformed flag %q", arg),
				Hint: "write --name=value",
			}
		}
		if name == "h" {
			name = "help"
		}
		spec, ok := findFlag(table, name)
		if !ok {
			return nil, nil, unknownFlag(name, table)
		}
		prev = ""
		switch {
		case hasValue:
		case spec.kind == boolean:
			value, prev = "true", name
		case i+1 == len(args):
			return nil, nil, usageError{
				Msg:  fmt.Sprintf("flag --%s has no value", name),
				Hint: fmt.Sprintf("write --%s=%s", name, metavar(spec)),
			}
		default:
			i++
			value = args[i]
			if isFlag(value, table) && name != "etcd-password" {
				warnings = append(warnings, fmt.Sprintf("flag --%s took %q as its value; write --%s=VALUE if that is not meant", name, value, name))
			}
		}
		out = append(out, "--"+name+"="+value)
		if name == "help" && !hasValue {
			break
		}
	}
	return out, warnings, nil
}

// positional is the error for an argument that is no flag. The released
// daemons silently ignored every flag behind one.
func positional(arg, afterBool string) error {
	e := usageError{
		Msg:  fmt.Sprintf("unexpected argument %q", arg),
		Hint: "every argument is a flag; write --name=value",
	}
	if _, err := strconv.ParseBool(arg); err == nil && afterBool != "" {
		e.Hint = fmt.Sprintf("use --%s=%s", afterBool, arg)
	}
	return e
}

func unknownFlag(name string, table []flagSpec) error {
	e := usageError{
		Msg:  "unknown flag --" + name,
		Hint: "--help lists all flags",
	}
	if level, ok := strings.CutPrefix(name, "v"); ok {
		if _, err := strconv.Atoi(level); err == nil {
			e.Hint = "use -v=" + level
			return e
		}
	}
	if n := nearest(name, flagNames(table)); n != "" {
		e.Hint = "did you mean --" + n + "?"
	}
	return e
}

func findFlag(table []flagSpec, name string) (flagSpec, bool) {
	for _, s := range table {
		if s.name == name {
			return s, true
		}
	}
	return flagSpec{}, false
}

func flagNames(table []flagSpec) []string {
	var names []string
	for _, s := range table {
		names = append(names, s.name)
	}
	return names
}

// isFlag reports whether arg is a known flag as one would write it.
func isFlag(arg string, table []flagSpec) bool {
	if !strings.HasPrefix(arg, "-") {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	_, ok := findFlag(table, name)
	return ok
}

// metavar is what help and hints call the value of s.
func metavar(s flagSpec) string {
	if s.arg != "" {
		return s.arg
	}
	return "VALUE"
}
