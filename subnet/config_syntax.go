package subnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxConfig bounds a configuration document, in bytes.
const maxConfig = 1 << 20

// field is one member of the document's object.
type field struct {
	name   string // as written
	at     int    // offset of the name
	value  json.RawMessage
	valued int // offset of the value
}

// splitConfig takes the document apart into the members of its one object.
func splitConfig(doc []byte) ([]field, error) {
	if len(doc) > maxConfig {
		return nil, &ConfigError{Msg: fmt.Sprintf("the document has %d bytes, more than %d", len(doc), maxConfig)}
	}
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, &ConfigError{Msg: "the document is empty", Hint: `write at least {"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}`}
	}
	var whole json.RawMessage
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, syntaxError(doc, err)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, configErrorAt(doc, skipBlank(doc, 0), "the document is not a JSON object", `it must be written in braces: {"Network":…}`)
	}
	var fields []field
	for dec.More() {
		f := field{at: skipBlank(doc, int(dec.InputOffset()))}
		tok, err := dec.Token()
		if err != nil {
			return nil, syntaxError(doc, err)
		}
		f.name, _ = tok.(string)
		f.valued = skipBlank(doc, int(dec.InputOffset()))
		if err := dec.Decode(&f.value); err != nil {
			return nil, syntaxError(doc, err)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// skipBlank returns the offset of the next byte that means something.
func skipBlank(doc []byte, from int) int {
	for from < len(doc) && strings.IndexByte(" \t\r\n,:", doc[from]) >= 0 {
		from++
	}
	return from
}

// syntaxError places a JSON error and knows the mistakes that people make.
func syntaxError(doc []byte, err error) error {
	at := len(doc)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok && e.Offset > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
		at = int(e.Offset) - 1
	}
	if at >= len(doc) || strings.HasPrefix(err.Error(), "unexpected end") {
		return configErrorAt(doc, len(doc), "the document ends too early", "a closing brace or quote is missing")
	}
	if comma := lastMeaningful(doc, at); comma >= 0 && doc[comma] == ',' && (doc[at] == '}' || doc[at] == ']') {
		return configErrorAt(doc, comma, "a comma before the closing brace", "remove this comma: JSON allows none after the last member")
	}
	hint := ""
	switch {
	case doc[at] == '\'' || bytes.HasPrefix(doc[at:], []byte("“")) || bytes.HasPrefix(doc[at:], []byte("”")):
		hint = `JSON needs plain double quotes: "`
	case doc[at] == '/' || doc[at] == '#':
		hint = "JSON has no comments"
	case doc[at] == '"':
		hint = "a comma or colon is missing before it"
	}
	return configErrorAt(doc, at, "not JSON: "+err.Error(), hint)
}

// lastMeaningful returns the offset of the last byte before at that is no
// white space, or -1.
func lastMeaningful(doc []byte, at int) int {
	return len(bytes.TrimRight(doc[:at], " \t\r\n")) - 1
}
