package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"flanneld/pkg/words"
)

// Diff says what differs between two configurations, as an operator reads it:
// "SubnetLen 24 -> 25, Backend VNI 1 -> 2". It is empty if nothing does. Values
// of backend options that may be secrets are left out.
func Diff(a, b Config) string { return strings.Join(Differences(a, b), ", ") }

// Differences is Diff, one phrase for each thing that differs.
func Differences(a, b Config) []string {
	var d difference
	d.family("", a.V4, b.V4)
	d.family("IPv6", a.V6, b.V6)
	d.add("EnableNFTables", a.NFTables, b.NFTables)
	d.add("Backend Type", a.Type, b.Type)
	d.backend(a.Backend, b.Backend)
	return d
}

// difference is one phrase for each thing that differs.
type difference []string

func (d *difference) add(name string, a, b any) {
	if a != b {
		*d = append(*d, fmt.Sprintf("%s %v -> %v", name, a, b))
	}
}

func (d *difference) family(prefix string, a, b Range) {
	network := func(r Range) string {
		if !r.Enabled() {
			return "none"
		}
		return r.Network.String()
	}
	d.add(prefix+"Network", network(a), network(b))
	if a.Enabled() != b.Enabled() {
		return
	}
	d.add(prefix+"SubnetLen", a.SubnetLen, b.SubnetLen)
	d.add(prefix+"SubnetMin", a.Min, b.Min)
	d.add(prefix+"SubnetMax", a.Max, b.Max)
}

// backend compares the options one by one. The type, which is compared in lower
// case, is not among them.
func (d *difference) backend(a, b json.RawMessage) {
	before, after := optionsOf(a), optionsOf(b)
	all := maps.Clone(before)
	maps.Copy(all, after)
	for _, folded := range slices.Sorted(maps.Keys(all)) {
		x, y := before[folded].value, after[folded].value
		switch name := "Backend " + words.Clip(all[folded].name); {
		case x == y:
		case secret(folded):
			*d = append(*d, name+" (not shown)")
		default:
			d.add(name, cmp.Or(words.Clip(x), "unset"), cmp.Or(words.Clip(y), "unset"))
		}
	}
}

// option is one of a backend's, its value in the compact form.
type option struct{ name, value string }

// optionsOf returns the options but for the type by their folded names.
func optionsOf(raw json.RawMessage) map[string]option {
	options := make(map[string]option)
	if len(raw) == 0 {
		return options
	}
	all, _ := members(raw, 0, "") // Parse lets no object pass that is wrong
	for _, m := range all {
		if folded := fold(m.name); folded != "type" {
			var compact bytes.Buffer
			_ = json.Compact(&compact, m.value) // it was read as JSON just now
			options[folded] = option{m.name, compact.String()}
		}
	}
	return options
}

// secret reports whether an option's name says that its value is not for logs.
func secret(folded string) bool {
	return slices.ContainsFunc([]string{"psk", "key", "secret", "password", "token"},
		func(word string) bool { return strings.Contains(folded, word) })
}
