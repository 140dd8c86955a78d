package flagtable

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"flanneld/pkg/words"
)

// value is a row as pflag sets it.
type value struct {
	Flag
	from string // how it is given: "--name" or a variable
	text string // what it was set to last
}

// Set writes a boolean as "true" or "false".
func (v *value) Set(text string) error {
	if v.Bool {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return Invalid(text, v.from, "give true or false")
		}
		text = strconv.FormatBool(on)
	}
	v.text = text
	if v.Flag.Set == nil {
		return nil
	}
	return v.Flag.Set(text, v.from)
}

func (v *value) String() string { return v.text }

// arguments returns the values of each flag in their order. Only those of flags
// that ask for something else are set.
func arguments(fs *pflag.FlagSet, args []string) (values map[string][]string, warnings []string, err error) {
	args, warnings = twoDashes(fs, args)
	values = make(map[string][]string)
	err = fs.ParseAll(args, func(f *pflag.Flag, text string) error {
		values[f.Name] = append(values[f.Name], text)
		if v := f.Value.(*value); v.Instead {
			return v.Set(text)
		}
		return nil
	})
	if err != nil {
		return nil, nil, Explain(fs, err)
	}
	if fs.NArg() > 0 {
		return nil, nil, positional(fs, args[:len(args)-fs.NArg()], fs.Arg(0))
	}
	return values, warnings, nil
}

// twoDashes writes -name as --name, since pflag reads -name as four flags, and
// warns about each value that looks like a flag. Arguments after a bare help flag
// are left out, so that a mistake among them does not hide the help.
func twoDashes(fs *pflag.FlagSet, args []string) (out, warnings []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			return append(out, args[i:]...), warnings
		}
		if arg[1] != '-' {
			arg = "-" + arg
		}
		out = append(out, arg)
		f := named(fs, arg)
		switch {
		case f == nil || strings.Contains(arg, "="):
		case f.Name == "help":
			return out, warnings
		case f.NoOptDefVal == "" && i+1 < len(args):
			i++
			out = append(out, args[i])
			if named(fs, args[i]) != nil && !f.Value.(*value).Dashes {
				warnings = append(warnings, fmt.Sprintf("flag --%s took %q as its value; write --%s=VALUE if that is not meant", f.Name, args[i], f.Name))
			}
		}
	}
	return out, warnings
}

// named returns the flag that an argument names, or nil.
func named(fs *pflag.FlagSet, arg string) *pflag.Flag {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return nil
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	return fs.Lookup(name)
}

// Explain says what pflag or a row found wrong, and what to do about it.
func Explain(fs *pflag.FlagSet, err error) error {
	switch e := err.(type) { //nolint:errorlint // pflag wraps none of them
	case *pflag.NotExistError:
		return unknownFlag(fs, e.GetSpecifiedName())
	case *pflag.ValueRequiredError:
		name := e.GetFlag().Name
		return Error{Msg: fmt.Sprintf("flag --%s has no value", name), Hint: fmt.Sprintf("write --%s=%s", name, e.GetFlag().Value.Type())}
	case *pflag.InvalidSyntaxError:
		return Error{Msg: fmt.Sprintf("malformed flag %q", e.GetSpecifiedFlag()), Hint: "write --name=value"}
	case *pflag.InvalidValueError:
		cause := e.Unwrap()
		if _, ours := errors.AsType[Error](cause); ours {
			return cause
		}
		name := e.GetFlag().Name // a flag of pflag's own
		return Invalid(e.GetValue(), "--"+name, fmt.Sprintf("write --%s=%s", name, strings.ToUpper(e.GetFlag().Value.Type())))
	}
	return err
}

// positional is the error for an argument that is no flag, after those before it.
func positional(fs *pflag.FlagSet, before []string, arg string) error {
	e := Error{Msg: fmt.Sprintf("unexpected argument %q", arg), Hint: "every argument is a flag; write --name=value"}
	if len(before) == 0 {
		return e
	}
	last := before[len(before)-1]
	f := named(fs, last)
	if _, err := strconv.ParseBool(arg); err == nil && f != nil && f.NoOptDefVal != "" && !strings.Contains(last, "=") {
		e.Hint = fmt.Sprintf("use --%s=%s", f.Name, arg)
	}
	return e
}

func unknownFlag(fs *pflag.FlagSet, name string) error {
	e := Error{Msg: unknownMsg(name), Hint: "--help lists all flags"}
	if level, ok := strings.CutPrefix(name, "v"); ok {
		if _, err := strconv.Atoi(level); err == nil {
			e.Hint = "use -v=" + level
			return e
		}
	}
	if n := words.Nearest(name, names(fs)); n != "" {
		e.Hint = "did you mean --" + n + "?"
	}
	return e
}

func unknownMsg(name string) string { return "unknown flag --" + name }

func names(fs *pflag.FlagSet) []string {
	var all []string
	fs.VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
	return all
}
