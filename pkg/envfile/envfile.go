// Package envfile reads and writes files of NAME=value lines, as systemd's
// EnvironmentFile= and shells read them. It reads whatever is there, since
// other programs write such files too; what it writes appears whole or not at
// all. It does not know what the variables mean.
package envfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line, in bytes, that can be an assignment.
const maxLine = 16 << 10

// Parse returns the variables that data assigns, never nil; the last assignment of a
// name wins. Each line stands for itself: a quote that is not closed spoils its line and
// no other. A line that is neither an assignment nor blank nor a comment is passed over.
// The error says what is wrong with the first such line, and how many more there are;
// the variables of the other lines are returned all the same.
//
// Names are those of POSIX shells. Values may be in single quotes, which keep
// everything, or in double quotes, where a backslash escapes `"`, `\`, `$` and
// "`". Nothing is expanded. Behind an unquoted or quoted value, blank and # start
// a comment.
func Parse(data []byte) (vars map[string]string, err error) {
	vars = make(map[string]string)
	number, ignored := 0, 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		number++
		name, value, bad := parseLine(line)
		if bad != nil {
			if ignored++; ignored == 1 {
				err = fmt.Errorf("line %d: %w", number, bad)
			}
		} else if name != "" {
			vars[name] = value
		}
	}
	if ignored > 1 {
		err = fmt.Errorf("%w, and %d more lines", err, ignored-1)
	}
	return vars, err
}

// parseLine returns an empty name for a line that says nothing.
func parseLine(raw []byte) (name, value string, err error) {
	if len(raw) > maxLine {
		return "", "", errors.New("line is too long")
	}
	line := strings.Trim(string(raw), " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	if !isText(line) {
		return "", "", errors.New("not text")
	}
	if rest, ok := strings.CutPrefix(line, "export"); ok && strings.IndexAny(rest, " \t") == 0 {
		line = strings.Trim(rest, " \t")
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return "", "", errors.New("no assignment")
	}
	if name = strings.Trim(name, " \t"); !isName(name) {
		return "", "", errors.New("bad variable name")
	}
	value, err = unquote(strings.Trim(value, " \t"))
	return name, value, err
}

var errQuote = errors.New("quote is not closed")

// isText reports whether s is UTF-8 without control characters other than tabs.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	})
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(s string) (string, error) {
	switch {
	case s == "" || s[0] == '#':
		return "", nil
	case s[0] == '\'':
		value, rest, ok := strings.Cut(s[1:], "'")
		if !ok {
			return "", errQuote
		}
		return value, endsHere(rest)
	case s[0] != '"':
		for i := 1; i < len(s); i++ {
			if s[i] == '#' && isBlank(s[i-1]) {
				return strings.TrimRight(s[:i], " \t"), nil
			}
		}
		return s, nil
	}

	var value strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return value.String(), endsHere(s[i+1:])
		case c == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0:
			i++
			value.WriteByte(s[i])
		default:
			value.WriteByte(c)
		}
	}
	return "", errQuote
}

func endsHere(rest string) error {
	if rest == "" || isBlank(rest[0]) && strings.Trim(rest, " \t")[0] == '#' {
		return nil
	}
	return errors.New("text after the closing quote")
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
