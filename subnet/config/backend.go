package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"flanneld/pkg/words"
)

const (
	backendOption = "Backend option "
	backendKey    = "Backend."
	backendHint   = `write an object, such as {"Type":"vxlan"}`
)

// backendType returns the type that the document's Backend object names, in lower
// case. The backend itself decides about the other options.
func backendType(d *document) (string, error) {
	if raw := *d.Backend; raw[0] != '{' {
		return "", d.errorf("Backend", backendHint, "Backend is %s, not an object", jsonType(raw))
	}
	all, err := members(d.raw, d.at[fold("Backend")], backendOption)
	d.wrong.Add(err)
	var names []string
	for _, m := range all {
		names = append(names, m.name)
		if !strings.EqualFold(m.name, "Type") {
			continue
		}
		var typ string
		if err := json.Unmarshal(m.value, &typ); err != nil {
			return "", d.typeError(m, "Backend Type is "+jsonType(m.value), `write it in quotes, such as "vxlan"`)
		}
		if typ == "" {
			return "", d.typeError(m, "Backend has no Type: it is empty", `write one, such as "vxlan"`)
		}
		return strings.ToLower(typ), nil
	}
	hint := `add "Type":"udp", "vxlan", "host-gw" or "alloc"`
	if like := words.Nearest("Type", names); like != "" {
		hint = fmt.Sprintf(`did you mean "Type" by %q?`, words.Clip(like))
	}
	return "", d.errorf("Backend", hint, "Backend has no Type")
}

func (d *document) typeError(m member, msg, hint string) *Error {
	e := errorAt(d.raw, m.valueAt, msg, hint)
	e.Key = backendKey + "Type"
	return e
}

// DecodeBackend reads a configuration's Backend object into a struct, whose
// exported fields are named as the options or have a json tag. It returns the
// names of options that are neither in the struct nor "Type", each with the one
// it may stand for: `"Prot" (did you mean "Port"?)`. Names are matched without
// regard to case; an option that is absent or null leaves its field as it is.
// After ten unknown names it returns only how many more there are.
//
// An error is a *Error with the position within raw ([Config.Locate] knows
// that within the document), names the option, has what else is wrong in Also,
// and leaves as they are the fields whose options are wrong. It panics if into is not a pointer to a struct.
func DecodeBackend(raw json.RawMessage, into any) (unknown []string, err error) {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return nil, nil
	}
	start := skipBlank(raw, 0)
	if !json.Valid(raw) || raw[start] != '{' {
		return nil, errorAt(raw, start, "Backend is not an object", backendHint)
	}
	var wrong Faults
	all, err := members(raw, start, backendOption)
	wrong.Add(err)
	others, names, err := fill(into, raw, all, backendOption)
	wrong.Add(err)
	return unknownOptions(others, names), wrong.Err()
}

// unknownOptions names what is neither an option nor the type.
func unknownOptions(others []member, names []string) (unknown []string) {
	names = append([]string{"Type"}, names...)
	others = slices.DeleteFunc(others, func(m member) bool { return strings.EqualFold(m.name, "Type") })
	for i, m := range others {
		if i == maxUnknown {
			return append(unknown, fmt.Sprintf("%d more", len(others)-maxUnknown))
		}
		text := fmt.Sprintf("%q", words.Clip(m.name))
		if like := words.Nearest(m.name, names); like != "" {
			text += fmt.Sprintf(" (did you mean %q?)", like)
		}
		unknown = append(unknown, text)
	}
	return unknown
}
