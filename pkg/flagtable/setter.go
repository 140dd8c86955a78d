package flagtable

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Setter takes one value of a flag; from is how it was given, for an Error.
type Setter func(value, from string) error

// Invalid is the error about a value that a flag does not take.
func Invalid(value, from, hint string) error {
	return Error{Msg: fmt.Sprintf("invalid value %q for %s", value, from), Hint: hint}
}

// Parsed takes what parse says is valid.
func Parsed[T any](into *T, hint string, parse func(string) (T, bool)) Setter {
	return func(value, from string) error {
		v, ok := parse(value)
		if !ok {
			return Invalid(value, from, hint)
		}
		*into = v
		return nil
	}
}

// Text takes anything.
func Text(into *string) Setter {
	return func(value, _ string) error {
		*into = value
		return nil
	}
}

// Path takes anything but nothing.
func Path(into *string) Setter {
	return func(value, from string) error {
		if value == "" {
			return Error{Msg: from + " is empty", Hint: "give a path, or leave the flag out"}
		}
		*into = value
		return nil
	}
}

// List appends what is not blank: --iface=$IFACE with IFACE unset means the default.
func List(into *[]string) Setter {
	return func(value, _ string) error {
		if value = strings.TrimSpace(value); value != "" {
			*into = append(*into, value)
		}
		return nil
	}
}

// Bool is for a flag that is a Bool.
func Bool(into *bool) Setter {
	return func(value, _ string) error {
		*into = value == "true"
		return nil
	}
}

// Int takes a Go integer literal from least to most: 60, 0x3c, 074.
func Int(into *int, least, most int, hint string) Setter {
	return func(value, from string) error {
		n, err := strconv.ParseInt(value, 0, strconv.IntSize)
		if err != nil {
			return Invalid(value, from, "give a whole number")
		}
		if n < int64(least) || n > int64(most) {
			return Error{Msg: fmt.Sprintf("invalid value %d for %s", n, from), Hint: hint}
		}
		*into = int(n)
		return nil
	}
}

// Choice takes one of a few words.
func Choice(into *string, among ...string) Setter {
	last := len(among) - 1
	return Parsed(into, "give "+strings.Join(among[:last], ", ")+" or "+among[last],
		func(value string) (string, bool) { return value, slices.Contains(among, value) })
}
