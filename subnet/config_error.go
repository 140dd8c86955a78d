package subnet

import (
	"bytes"
	"fmt"
	"strings"
)

// ConfigError says what is wrong with a configuration document and where.
type ConfigError struct {
	Line, Col int    // from 1, in bytes; zero if the document as a whole is meant
	Msg       string // what is wrong
	Hint      string // what to do; may be empty
}

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

// nearest returns the known name that s most likely stands for, or "".
func nearest(s string, known []string) string {
	best, most := "", len(s)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(s), strings.ToLower(k)); d < most {
			best, most = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
