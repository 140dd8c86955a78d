package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"flanneld/pkg/words"
)

// maxTwice bounds the errors about names that are there twice, as maxUnknown does warnings.
const maxTwice = 10

// member is one name and value of a JSON object.
type member struct {
	name    string // as written, unescaped
	at      int    // offset of the name
	value   json.RawMessage
	valueAt int // offset of the value
}

// members takes the object apart that begins at offset start of a valid document.
// Offsets are in the document. A name that is there twice is an error:
// encoding/json would silently take the last. The first is returned all the same, and no
// more than maxTwice of these errors. What names the members in them.
func members(doc []byte, start int, what string) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(doc[start:]))
	_, _ = dec.Token() // the opening brace
	next := func() int { return start + skipBlank(doc[start:], int(dec.InputOffset())) }
	var all []member
	var wrong Faults
	seen := make(map[string]bool)
	for dec.More() {
		m := member{at: next()}
		token, _ := dec.Token()
		m.name, _ = token.(string)
		m.valueAt = next()
		if err := dec.Decode(&m.value); err != nil {
			return nil, syntaxError(doc, err)
		}
		if seen[fold(m.name)] {
			if len(wrong) == maxTwice {
				continue
			}
			e := errorAt(doc, m.at, fmt.Sprintf("%s%q is there twice", what, words.Clip(m.name)), "upper and lower case are the same; remove one")
			e.Key = keyOf(what, m.name)
			wrong = append(wrong, e)
			continue
		}
		seen[fold(m.name)] = true
		all = append(all, m)
	}
	return all, wrong.Err()
}

// keyOf is the key of a member in an error. What is backendOption for one of the Backend.
func keyOf(what, name string) string {
	if what == backendOption {
		return backendKey + words.Clip(name)
	}
	return words.Clip(name)
}

// fold maps names to the same string that strings.EqualFold calls equal.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// skipBlank returns the offset of the next byte that means something.
func skipBlank(doc []byte, from int) int {
	for from < len(doc) && strings.IndexByte(" \t\r\n,:", doc[from]) >= 0 {
		from++
	}
	return from
}

// fill sets the fields of a struct to the members of their names, or of their json
// tags, without regard to case. It returns the members that have no field, and the
// names of the fields, also with an error: a field whose member is wrong stays as it is.
// What names a member in an error.
func fill(into any, doc []byte, all []member, what string) (unknown []member, names []string, err error) {
	v := reflect.ValueOf(into).Elem()
	index := make(map[string]int)
	var wrong Faults
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && tag != "-" {
			name := cmp.Or(tag, f.Name)
			index[fold(name)] = i
			names = append(names, name)
		}
	}
	for _, m := range all {
		i, ok := index[fold(m.name)]
		if !ok {
			unknown = append(unknown, m)
			continue
		}
		value := reflect.New(v.Field(i).Type())
		value.Elem().Set(v.Field(i)) // which null leaves as it is
		if err := json.Unmarshal(m.value, value.Interface()); err != nil {
			msg := fmt.Sprintf("%s%s is %s", what, words.Clip(m.name), jsonType(m.value))
			e := errorAt(doc, m.valueAt, msg, hint(v.Type().Field(i), m.value, err))
			e.Key = keyOf(what, m.name)
			wrong = append(wrong, e)
			continue
		}
		v.Field(i).Set(value.Elem())
	}
	return unknown, names, wrong.Err()
}

// jsonType says what a JSON value is, for people.
func jsonType(v []byte) string {
	switch v[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "the number " + words.Clip(strings.TrimSpace(string(v)))
}

// hint says what to write instead of a value that a field does not take. The
// field's tags "is" and "like" say more about it.
func hint(field reflect.StructField, v json.RawMessage, err error) string {
	t := field.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	like := field.Tag.Get("like")
	var what, write string
	switch t.Kind() {
	case reflect.Bool:
		what, write = "a boolean", "true or false without quotes"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		what, write = "a number", "a whole number without quotes"
		if like != "" {
			write += ", such as " + like
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		what, write = "a number", fmt.Sprintf("a whole number from 0 to %d without quotes", ^uint64(0)>>(64-t.Bits()))
	case reflect.String:
		if like != "" {
			return fmt.Sprintf("write %s in quotes, such as %q", field.Tag.Get("is"), like)
		}
		return "a string is expected: write it in quotes"
	default:
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
			return err.Error()
		}
		return ""
	}
	// Quotes around it are the usual mistake.
	var s string
	if json.Unmarshal(v, &s) == nil && json.Valid([]byte(s)) && strings.Trim(s, "-0123456789aeflrstu") == "" {
		write = words.Clip(s) + " without quotes"
	}
	return what + " is expected: write " + write
}
