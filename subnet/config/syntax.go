package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxConfig bounds a configuration document, in bytes. etcd's own bound on a
// request is larger. How deep a document may be nested is bounded by
// encoding/json.
const maxConfig = 1 << 20

// checkSyntax returns a *Error unless doc is one JSON object.
func checkSyntax(doc []byte) error {
	if len(doc) > maxConfig {
		return &Error{Msg: fmt.Sprintf("the document has %d bytes, more than %d", len(doc), maxConfig)}
	}
	const example = `write at least {"Network":"10.100.0.0/16","Backend":{"Type":"vxlan"}}`
	if len(bytes.TrimSpace(doc)) == 0 {
		return &Error{Msg: "the document is empty", Hint: example}
	}
	var whole json.RawMessage
	if err := json.Unmarshal(doc, &whole); err != nil {
		return syntaxError(doc, err)
	}
	if start := skipBlank(doc, 0); doc[start] != '{' {
		return errorAt(doc, start, "the document is "+jsonType(doc[start:])+", not a JSON object", example)
	}
	return nil
}

// syntaxError places a JSON error and knows the mistakes that people make.
func syntaxError(doc []byte, err error) *Error {
	if bytes.HasPrefix(doc, []byte("\xff\xfe")) || bytes.HasPrefix(doc, []byte("\xfe\xff")) {
		return &Error{Msg: "the document is in UTF-16", Hint: "save it as UTF-8"}
	}
	at := len(doc)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok && !strings.HasPrefix(err.Error(), "unexpected end") {
		at = max(int(e.Offset)-1, 0)
	}
	// A typographic quote does not end a string: what goes wrong comes later.
	if quote := smartQuote(doc[:at]); quote >= 0 && (at == len(doc) || strings.Contains(err.Error(), "after object")) {
		at = quote
	}
	if at >= len(doc) {
		return errorAt(doc, len(doc), "the document ends too early", "a closing brace or quote is missing")
	}
	previous := len(bytes.TrimRight(doc[:at], " \t\r\n")) - 1
	c := doc[at]
	switch {
	case (c == '}' || c == ']') && previous >= 0 && doc[previous] == ',':
		return errorAt(doc, previous, "a comma before the closing brace", "remove this comma: JSON allows none after the last member")
	case c == ',':
		return errorAt(doc, at, "a comma where something else is expected", "remove this comma, or write what is missing before it")
	case c == '\'' || smartQuote(doc[at:]) == 0:
		return errorAt(doc, at, "a quote that JSON does not know", `use plain double quotes: "`)
	case c == '/' || c == '#':
		return errorAt(doc, at, "a comment", "remove it: JSON has no comments")
	case c == '\n' || c == '\r':
		return errorAt(doc, at, "the line ends within quotes", "the closing quote is missing")
	case strings.HasSuffix(err.Error(), "after top-level value"):
		return errorAt(doc, at, "something follows the end of the document", "remove what is after the last brace")
	case strings.HasSuffix(err.Error(), "looking for beginning of object key string"):
		return errorAt(doc, at, "a key without quotes",
			"put keys in double quotes, and in a shell the whole document in single quotes")
	}
	hint := "write one JSON object, and in a shell put it in single quotes"
	if c == '"' {
		hint = "a comma or colon is missing before it"
	}
	return errorAt(doc, at, "not JSON: "+err.Error(), hint)
}

// smartQuote returns the offset of the first typographic quote, as word
// processors and wikis make of plain ones, or -1.
func smartQuote(doc []byte) int { return bytes.IndexAny(doc, "“”„‟‘’‚‛«»") }
