package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flanneld/pkg/words"
	"fmt"
	"reflect"
	"strings"
)

// backendType returns the type that the document's Backend object names, in lower
// case. The backend itself decides about the other options.
func backendType(d *document) (string, error) {
	const example = `add "Type":"udp", "vxlan", "host-gw" or "alloc"`
	if raw := *d.Backend; raw[0] != '{' {
		return "", d.errorf("Backend", typeHint("Backend", raw), "Backend is %s, not an object", jsonType(raw))
	}
	all, err := members(d.raw, d.at["Backend"], "Backend option ")
	if err != nil {
		return "", err
	}
	var names []string
	for _, m := range all {
		names = append(names, m.name)
		if !strings.EqualFold(m.name, "Type") {
			continue
		}
		var typ string
		if err := json.Unmarshal(m.value, &typ); err != nil {
			return "", errorAt(d.raw, m.valueAt, "Backend Type is "+jsonType(m.value), `write it in quotes, such as "vxlan"`)
		}
		if typ == "" {
			return "", errorAt(d.raw, m.valueAt, "Backend has no Type: it is empty", `write one, such as "vxlan"`)
		}
		return strings.ToLower(typ), nil
	}
	if like := words.Nearest("Type", names); like != "" {
		return "", d.errorf("Backend", fmt.Sprintf(`did you mean "Type" by %q?`, words.Clip(like)), "Backend has no Type")
	}
	return "", d.errorf("Backend", example, "Backend has no Type")
}

// DecodeBackend reads a configuration's Backend object into a struct, whose
// exported fields are named as the options or have a json tag. It returns the
// names of options that are neither in the struct nor "Type", each with the one
// it may stand for: `"Prot" (did you mean "Port"?)`. Names are matched without
// regard to case; an option that is absent or null leaves its field as it is. After ten unknown names it returns only how many more there are.
//
// An error is a *Error with the position within raw ([Config.Locate] knows
// that within the document), names the option, and leaves the struct partly
// written. It panics if into is not a pointer to a struct.
func DecodeBackend(raw json.RawMessage, into any) (unknown []string, err error) {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || string(trimmed) == "null" {
		return nil, nil
	}
	start := skipBlank(raw, 0)
	if !json.Valid(raw) || raw[start] != '{' {
		return nil, errorAt(raw, start, "Backend is not an object", typeHint("Backend", raw))
	}
	all, err := members(raw, start, "Backend option ")
	if err != nil {
		return nil, err
	}
	fields, names := options(into)
	ignored := 0
	for _, m := range all {
		field, ok := fields[fold(m.name)]
		if !ok {
			if strings.EqualFold(m.name, "Type") {
				continue
			}
			if ignored++; ignored <= maxUnknown {
				unknown = append(unknown, didYouMean(m.name, names))
			}
			continue
		}
		if err := json.Unmarshal(m.value, field.Addr().Interface()); err != nil {
			return unknown, optionError(raw, m, field, err)
		}
	}
	if ignored > maxUnknown {
		unknown = append(unknown, fmt.Sprintf("%d more", ignored-maxUnknown))
	}
	return unknown, nil
}

// options returns a struct's fields by their folded names, and the names as they
// are written.
func options(into any) (map[string]reflect.Value, []string) {
	v := reflect.ValueOf(into).Elem()
	fields, names := make(map[string]reflect.Value), []string{"Type"}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[fold(name)] = v.Field(i)
		names = append(names, name)
	}
	return fields, names
}

func didYouMean(name string, names []string) string {
	if like := words.Nearest(name, names); like != "" {
		return fmt.Sprintf("%q (did you mean %q?)", words.Clip(name), like)
	}
	return fmt.Sprintf("%q", words.Clip(name))
}

// optionError says which type an option has and which it should have.
func optionError(raw []byte, m member, field reflect.Value, err error) error {
	e := errorAt(raw, m.valueAt, fmt.Sprintf("Backend option %s is %s", words.Clip(m.name), jsonType(m.value)), "")
	t := field.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		e.Hint = quoteHint(m.value, "a boolean is expected: write true or false without quotes")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.Hint = quoteHint(m.value, "a number is expected: write a whole number without quotes")
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.Hint = quoteHint(m.value, fmt.Sprintf("a number is expected: write a whole number from 0 to %d without quotes", ^uint64(0)>>(64-t.Bits())))
	case reflect.String:
		e.Hint = "a string is expected: write it in quotes"
	default:
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
			e.Hint = err.Error()
		}
	}
	return e
}
