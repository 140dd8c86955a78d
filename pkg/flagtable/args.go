package flagtable

import (
	"fmt"
	"strconv"
	"strings"

	"flanneld/pkg/words"
)

// arguments returns the values of each flag in their order. Reading stops with
// success at a bare help flag, so that a mistake after it does not hide the help.
// There is one warning for each value that looks like a flag.
func (t Table) arguments(args []string) (values map[string][]string, warnings []string, err error) {
	values = make(map[string][]string)
	prev := "" // the boolean flag just read without a value, if any
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" && len(args) == 0 {
			break
		}
		if arg == "--" {
			return nil, nil, positional(args[0], "")
		}
		if len(arg) < 2 || arg[0] != '-' {
			return nil, nil, positional(arg, prev)
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "" || name[0] == '-' {
			return nil, nil, Error{Msg: fmt.Sprintf("malformed flag %q", arg), Hint: "write --name=value"}
		}
		if name == "h" {
			name = "help"
		}
		f, ok := t.find(name)
		prev = ""
		switch {
		case !ok:
			return nil, nil, t.unknownFlag(name)
		case hasValue:
		case f.Bool:
			value, prev = "true", name
		case len(args) == 0:
			return nil, nil, Error{Msg: fmt.Sprintf("flag --%s has no value", name), Hint: fmt.Sprintf("write --%s=%s", name, f.metavar())}
		default:
			value, args = args[0], args[1:]
			if t.isFlag(value) && !f.Dashes {
				warnings = append(warnings, fmt.Sprintf("flag --%s took %q as its value; write --%s=VALUE if that is not meant", name, value, name))
			}
		}
		values[name] = append(values[name], value)
		if name == "help" && !hasValue {
			break
		}
	}
	return values, warnings, nil
}

// positional is the error for an argument that is no flag. Go's flag package
// would silently ignore every flag behind one.
func positional(arg, afterBool string) error {
	e := Error{Msg: fmt.Sprintf("unexpected argument %q", arg), Hint: "every argument is a flag; write --name=value"}
	if _, err := strconv.ParseBool(arg); err == nil && afterBool != "" {
		e.Hint = fmt.Sprintf("use --%s=%s", afterBool, arg)
	}
	return e
}

func (t Table) unknownFlag(name string) error {
	e := Error{Msg: "unknown flag --" + name, Hint: "--help lists all flags"}
	if level, ok := strings.CutPrefix(name, "v"); ok {
		if _, err := strconv.Atoi(level); err == nil {
			e.Hint = "use -v=" + level
			return e
		}
	}
	if n := words.Nearest(name, t.names()); n != "" {
		e.Hint = "did you mean --" + n + "?"
	}
	return e
}

// isFlag reports whether arg is a known flag as one would write it.
func (t Table) isFlag(arg string) bool {
	if !strings.HasPrefix(arg, "-") {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	_, ok := t.find(name)
	return ok
}
