package config

import (
	"bytes"
	"encoding/json"
	"flanneld/pkg/words"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff says what differs between two configurations, as an operator reads it:
// "SubnetLen 24 -> 25, Backend VNI 1 -> 2". It is empty if nothing does. Values
// of backend options that may be secrets are left out.
func Diff(a, b Config) string {
	var d difference
	d.family("", a.V4, b.V4)
	d.family("IPv6", a.V6, b.V6)
	d.add("EnableNFTables", a.NFTables, b.NFTables)
	d.add("Backend Type", a.Type, b.Type)
	d.backend(a.Backend, b.Backend)
	return strings.Join(d, ", ")
}

// difference is one phrase for each thing that differs.
type difference []string

func (d *difference) add(name string, a, b any) {
	if a != b {
		*d = append(*d, fmt.Sprintf("%s %v -> %v", name, a, b))
	}
}

func (d *difference) family(prefix string, a, b Range) {
	if a.Enabled() != b.Enabled() {
		write := func(r Range) string {
			if !r.Enabled() {
				return "none"
			}
			return r.Network.String()
		}
		d.add(prefix+"Network", write(a), write(b))
		return
	}
	d.add(prefix+"Network", a.Network, b.Network)
	d.add(prefix+"SubnetLen", a.SubnetLen, b.SubnetLen)
	d.add(prefix+"SubnetMin", a.Min, b.Min)
	d.add(prefix+"SubnetMax", a.Max, b.Max)
}

// backend compares the options one by one. The type, which is compared in lower
// case, is not among them.
func (d *difference) backend(a, b json.RawMessage) {
	before, names := optionValues(a, nil)
	after, names := optionValues(b, names)
	for _, folded := range slices.Sorted(maps.Keys(names)) {
		x, y := before[folded], after[folded]
		switch name := "Backend " + words.Clip(names[folded]); {
		case x == y:
		case secret(folded):
			*d = append(*d, name+" (not shown)")
		default:
			d.add(name, orUnset(x), orUnset(y))
		}
	}
}

// optionValues returns an object's values in their compact form by the folded
// name, and adds to names how each is written.
func optionValues(raw json.RawMessage, names map[string]string) (values, all map[string]string) {
	values, all = make(map[string]string), make(map[string]string)
	maps.Copy(all, names)
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return values, all
	}
	list, _ := members(raw, 0, "") // Parse lets no object pass that is wrong
	for _, m := range list {
		folded := fold(m.name)
		if folded == "type" {
			continue
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, m.value) // it was read as JSON just now
		values[folded], all[folded] = compact.String(), m.name
	}
	return values, all
}

// secret reports whether an option's name says that its value is not for logs.
func secret(folded string) bool {
	for _, word := range []string{"psk", "key", "secret", "password", "token"} {
		if strings.Contains(folded, word) {
			return true
		}
	}
	return false
}

func orUnset(value string) string {
	if value == "" {
		return "unset"
	}
	return words.Clip(value)
}
