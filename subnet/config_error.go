package subnet

import (
	"bytes"
	"fmt"
)

// ConfigError says what is wrong with a configuration document and where.
type ConfigError struct {
	Line, Col int    // from 1, Col in bytes; zero if the document as a whole is meant
	Msg       string // what is wrong
	Hint      string // what to do; may be empty
}

// Error returns "line 2, column 27: what is wrong (what to do)".
func (e *ConfigError) Error() string {
	s := e.Msg
	if e.Line > 0 {
		s = fmt.Sprintf("line %d, column %d: %s", e.Line, e.Col, e.Msg)
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// configErrorAt makes an error about the byte at offset.
func configErrorAt(doc []byte, offset int, msg, hint string) *ConfigError {
	before := doc[:min(max(offset, 0), len(doc))]
	return &ConfigError{
		Line: bytes.Count(before, []byte("\n")) + 1,
		Col:  len(before) - bytes.LastIndexByte(before, '\n'),
		Msg:  msg, Hint: hint,
	}
}

// clip shortens what is quoted from a document, so that a document of a
// megabyte does not make a log line of one.
func clip(s string) string {
	const most = 64 // bytes; the longest address has 45
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
