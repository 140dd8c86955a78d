package config

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Error says what is wrong with a configuration document and where.
type Error struct {
	Line, Col int    // from 1, Col in bytes; zero if the document as a whole is meant
	Msg       string // what is wrong
	Hint      string // what to do; may be empty
}

// Error returns "line 2, column 27: what is wrong (what to do)".
func (e *Error) Error() string {
	s := e.Msg
	if e.Line > 0 {
		s = fmt.Sprintf("line %d, column %d: %s", e.Line, e.Col, e.Msg)
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// errorAt makes an error about the byte at offset.
func errorAt(doc []byte, offset int, msg, hint string) *Error {
	before := doc[:min(offset, len(doc))]
	return &Error{Line: bytes.Count(before, []byte("\n")) + 1, Col: len(before) - bytes.LastIndexByte(before, '\n'), Msg: msg, Hint: hint}
}

// OptionError makes an error about an option of a Backend object, absent or null
// included, which is not what the backend can work with. Its position is that of
// the option's value within the object, none if the option is not there; see
// [Config.Locate].
func OptionError(raw json.RawMessage, name, msg, hint string) *Error {
	all, _ := members(raw, skipBlank(raw, 0), "")
	for _, m := range all {
		if fold(m.name) == fold(name) {
			return errorAt(raw, m.valueAt, msg, hint)
		}
	}
	return &Error{Msg: msg, Hint: hint}
}

// Locate turns a position within the Backend object, as in the *Error of
// [DecodeBackend] and [OptionError], into the one within the whole document. Any
// other error is returned as it is.
func (c Config) Locate(err error) error {
	inner, ok := err.(*Error) //nolint:errorlint // a wrapped one says more than its position
	if !ok || inner.Line == 0 || c.backendAt == nil {
		return err
	}
	outer := *inner
	if outer.Line == 1 {
		outer.Col += c.backendAt.Col - 1
	}
	outer.Line += c.backendAt.Line - 1
	return &outer
}
