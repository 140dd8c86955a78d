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

const (
	maxLine    = 16 << 10 // bytes of a line that can be an assignment
	maxIgnored = 10       // errors that Parse returns; binary junk has thousands of lines
)

// Errors of lines that Parse passes over.
var (
	errNoAssignment = errors.New("no assignment")
	errBadName      = errors.New("bad variable name")
	errNotText      = errors.New("not text")
	errTooLong      = errors.New("line is too long")
	errQuote        = errors.New("quote is not closed")
	errAfterQuote   = errors.New("text after the closing quote")
)

// Parse returns the variables that data assigns, never nil; the last assignment
// of a name wins. Each line stands for itself: a quote that is not closed spoils
// its line and no other. What is neither an assignment nor blank nor a comment
// is passed over, and the errors say so, for the first few such lines.
//
// Names are those of POSIX shells. Values may be in single quotes, which keep
// everything, or in double quotes, where a backslash guards `"`, `\`, `$` and
// "`". Nothing is expanded. Behind an unquoted or quoted value, blank and # start
// a comment.
func Parse(data []byte) (map[string]string, []error) {
	vars := make(map[string]string)
	var ignored []error
	more := 0
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(data) {
		number++
		name, value, err := parseLine(line)
		switch {
		case err == nil && name != "":
			vars[name] = value
		case err != nil && len(ignored) < maxIgnored:
			ignored = append(ignored, fmt.Errorf("line %d: %w", number, err))
		case err != nil:
			more++
		}
	}
	if more > 0 {
		ignored = append(ignored, fmt.Errorf("%d more lines", more))
	}
	return vars, ignored
}

// parseLine returns an empty name for a line that says nothing.
func parseLine(raw []byte) (name, value string, err error) {
	if len(raw) > maxLine {
		return "", "", errTooLong
	}
	line := strings.Trim(string(raw), " \t\r\n")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	if !isText(line) {
		return "", "", errNotText
	}
	if rest, ok := strings.CutPrefix(line, "export"); ok && strings.IndexAny(rest, " \t") == 0 {
		line = strings.Trim(rest, " \t")
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return "", "", errNoAssignment
	}
	if name = strings.Trim(name, " \t"); !isName(name) {
		return "", "", errBadName
	}
	value, err = unquote(strings.Trim(value, " \t"))
	return name, value, err
}

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
	return errAfterQuote
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
