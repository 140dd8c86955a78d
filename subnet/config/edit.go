package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Member is one of a document's, to be written.
type Member struct {
	Backend bool            // it is one of the Backend object's
	Name    string          // matched without regard to case
	Value   json.RawMessage // nil: the member is to go
}

// Edit returns a document with members written into it, each in the place of the one of its
// name, or behind the last one. All else stays as it is, byte by byte: unknown members,
// their order, blanks. An empty document is the same as {}. An error is a *Error: the
// document is not one JSON object, its Backend is no object, or a name is there twice.
func Edit(doc []byte, all ...Member) ([]byte, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		doc = []byte("{}")
	}
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	if err := checkSyntax(doc); err != nil {
		return nil, err
	}
	for _, m := range all {
		var err error
		if doc, err = edit(doc, m); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

func edit(doc []byte, m Member) ([]byte, error) {
	start := skipBlank(doc, 0)
	if !m.Backend {
		return editObject(doc, start, m)
	}
	top, err := members(doc, start, "")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(top, func(t member) bool { return fold(t.name) == fold("Backend") })
	switch {
	case i >= 0 && top[i].value[0] == '{':
		return editObject(doc, top[i].valueAt, m)
	case i >= 0 && string(top[i].value) != "null":
		return nil, errorAt(doc, top[i].valueAt, "Backend is "+jsonType(top[i].value)+", not an object", backendHint)
	case m.Value == nil:
		return doc, nil
	}
	inner, err := editObject([]byte("{}"), 0, m)
	if err != nil {
		return nil, err
	}
	return editObject(doc, start, Member{Name: "Backend", Value: inner})
}

// editObject edits the object that begins at an offset.
func editObject(doc []byte, start int, m Member) ([]byte, error) {
	all, err := members(doc, start, "")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(o member) bool { return fold(o.name) == fold(m.Name) })
	name, _ := json.Marshal(m.Name) // a string
	switch {
	case i >= 0 && m.Value == nil:
		from, to := removal(all, i)
		return slices.Replace(slices.Clone(doc), from, to), nil
	case i >= 0:
		return slices.Replace(slices.Clone(doc), all[i].valueAt, all[i].end(), m.Value...), nil
	case m.Value == nil:
		return doc, nil
	case len(all) == 0:
		return slices.Insert(slices.Clone(doc), start+1, slices.Concat(name, []byte(":"), m.Value)...), nil
	}
	// Behind the last one, as that is written.
	last := all[len(all)-1]
	before := string(doc[start+1 : last.at])
	if len(all) > 1 {
		before = string(doc[all[len(all)-2].end():last.at])
	}
	colon := string(doc[last.at:last.valueAt])
	colon = colon[strings.LastIndexByte(colon, '"')+1:]
	text := "," + strings.TrimPrefix(strings.TrimLeft(before, " \t\r"), ",") + string(name) + colon + string(m.Value)
	return slices.Insert(slices.Clone(doc), last.end(), []byte(text)...), nil
}

// end is the offset behind the value.
func (m member) end() int { return m.valueAt + len(m.value) }

// removal returns from where to where a member is cut out, with the comma that belongs to it.
func removal(all []member, i int) (from, to int) {
	switch {
	case i+1 < len(all):
		return all[i].at, all[i+1].at
	case i > 0:
		return all[i-1].end(), all[i].end()
	}
	return all[i].at, all[i].end()
}
