package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Error says what is wrong with a configuration document and where.
type Error struct {
	Line, Col int      // from 1, Col in bytes; zero if the document as a whole is meant
	Key       string   // whose value it is: "SubnetLen", "Backend.VNI"; may be empty
	Msg       string   // what is wrong
	Hint      string   // what to do; may be empty
	Also      []*Error // what else is wrong, whatever is done about this; none of these has an Also
}

// Error returns "line 2, column 27: what is wrong (what to do)", and nothing of Also.
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

// Faults are errors in the order in which they were found. None of them has an Also.
type Faults []*Error

// Add appends an error, and what it has in Also, each once. Nil is none. It panics if the error is not
// a *Error.
func (f *Faults) Add(err error) {
	if err == nil {
		return
	}
	e := *err.(*Error) //nolint:errorlint,forcetypeassert // of this package's functions alone
	also := e.Also
	e.Also = nil
	for _, e := range append([]*Error{&e}, also...) {
		if !slices.ContainsFunc(*f, func(o *Error) bool { return o.Error() == e.Error() }) {
			*f = append(*f, e)
		}
	}
}

// Err returns the first with the others in its Also; nil if there are none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	e := *f[0]
	e.Also = f[1:]
	return &e
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
	e := &Error{Msg: msg, Hint: hint}
	for _, m := range all {
		if fold(m.name) == fold(name) {
			e = errorAt(raw, m.valueAt, msg, hint)
			break
		}
	}
	e.Key = backendKey + name
	return e
}

// Locate turns a position within the Backend object, as in the *Error of
// [DecodeBackend] and [OptionError], into the one within the whole document. Any
// other error is returned as it is.
func (c Config) Locate(err error) error {
	inner, ok := err.(*Error) //nolint:errorlint // a wrapped one says more than its position
	if !ok || c.backendAt == nil {
		return err
	}
	outer := *inner
	outer.Also = nil
	for _, e := range inner.Also {
		outer.Also = append(outer.Also, c.Locate(e).(*Error)) //nolint:errorlint,forcetypeassert // it returns one for one
	}
	if outer.Line == 0 {
		return &outer
	}
	if outer.Line == 1 {
		outer.Col += c.backendAt.Col - 1
	}
	outer.Line += c.backendAt.Line - 1
	return &outer
}
