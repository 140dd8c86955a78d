package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"flanneld/pkg/words"
)

// DefaultBackend is the type when the document names no backend, in every
// release.
const DefaultBackend = "udp"

// maxUnknown bounds the warnings about unknown keys: somebody has to read them.
const maxUnknown = 10

// document is the configuration as written. Nil is what is absent or null.
type document struct {
	Network        *string `is:"a network" like:"10.100.0.0/16"`
	SubnetLen      *int    `like:"24"`
	SubnetMin      *string `is:"an address" like:"10.100.1.0"`
	SubnetMax      *string `is:"an address" like:"10.100.1.0"`
	Backend        *json.RawMessage
	EnableIPv4     *bool
	EnableIPv6     *bool
	EnableNFTables *bool
	IPv6Network    *string `is:"a network" like:"fd00:100::/48"`
	IPv6SubnetLen  *int    `like:"64"`
	IPv6SubnetMin  *string `is:"an address" like:"fd00:100:0:1::"`
	IPv6SubnetMax  *string `is:"an address" like:"fd00:100:0:1::"`

	raw      []byte
	at       map[string]int    // offset of each value, by the folded key
	misspelt map[string]*Error // unknown keys, by what they may stand for
	warnings []string
	wrong    Faults
}

// Parse reads a configuration document, applies every default and rule
// (docs/configuration.md) and returns what in it deserves a warning, one
// sentence each. The error is a *Error with what else is wrong in its Also. The
// backend's options are not looked at, see [DecodeBackend].
func Parse(doc []byte) (Config, []string, error) {
	cfg, warnings, err := ParseAll(doc)
	if err != nil {
		return Config{}, nil, err
	}
	return cfg, warnings, nil
}

// ParseAll is Parse that returns with an error what could be read nevertheless: a family
// or a Type in which something is wrong is zero.
func ParseAll(doc []byte) (Config, []string, error) {
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	if err := checkSyntax(doc); err != nil {
		return Config{}, nil, err
	}
	d := readDocument(doc)
	cfg := d.config()
	return cfg, d.warnings, d.wrong.Err()
}

// readDocument sorts the document's members into fields, and warns about those
// that nobody reads.
func readDocument(doc []byte) *document {
	d := &document{raw: doc, at: make(map[string]int), misspelt: make(map[string]*Error)}
	all, err := members(doc, skipBlank(doc, 0), "")
	d.wrong.Add(err)
	for _, m := range all {
		d.at[fold(m.name)] = m.valueAt
	}
	unknown, known, err := fill(d, doc, all, "")
	d.wrong.Add(err)
	for i, m := range unknown {
		if i == maxUnknown {
			d.warnf("%d more unknown keys are ignored", len(unknown)-maxUnknown)
			break
		}
		e := errorAt(doc, m.at, fmt.Sprintf("unknown key %q", words.Clip(m.name)), "it is ignored")
		if like := words.Nearest(m.name, known); like != "" {
			e.Hint = fmt.Sprintf("did you mean %q? It is ignored", like)
			d.misspelt[like] = e
		}
		d.warnf("%s", e.Error())
	}
	return d
}

// faulty reports whether something is wrong with the value of a key, so that nothing that
// depends on it can be judged.
func (d *document) faulty(name string) bool {
	return slices.ContainsFunc(d.wrong, func(e *Error) bool { return fold(e.Key) == fold(name) })
}

// missing makes the error about a required key that is absent. Where a key is
// there that looks like it, that is the one to mend.
func (d *document) missing(name, example string) *Error {
	if e := d.misspelt[name]; e != nil {
		e.Key, e.Hint = name, fmt.Sprintf("did you mean %q? It is missing", name)
		return e
	}
	return &Error{Key: name, Msg: name + " is missing",
		Hint: fmt.Sprintf("please define a correct %s parameter in the flannel config, such as %q", name, example)}
}

func (d *document) warnf(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// errorf makes an error about the value of a key; about the document as a whole
// if the key is absent.
func (d *document) errorf(name, hint, format string, args ...any) *Error {
	at, ok := d.at[fold(name)]
	if !ok {
		return &Error{Key: name, Msg: fmt.Sprintf(format, args...), Hint: hint}
	}
	e := errorAt(d.raw, at, fmt.Sprintf(format, args...), hint)
	e.Key = name
	return e
}

// config applies the rules, and takes note of all that is wrong.
func (d *document) config() Config {
	cfg := Config{NFTables: d.EnableNFTables != nil && *d.EnableNFTables}
	v4 := d.EnableIPv4 == nil || *d.EnableIPv4
	v6 := d.EnableIPv6 != nil && *d.EnableIPv6
	switch {
	case !v4 && !v6:
		d.wrong.Add(d.errorf("EnableIPv4", "set EnableIPv4 to true or leave it out", "none defined stack: neither IPv4 nor IPv6 is enabled"))
	case !v4:
		// The first host gets a key that no other can live with.
		d.wrong.Add(d.errorf("EnableIPv4", "set EnableIPv4 to true and give a Network: no release can lease IPv6 subnets alone through etcd",
			"IPv6 without IPv4 (v6-only) is unsupported"))
	default:
		cfg.V4 = v4Fields.rangeOf(d, d.Network, d.SubnetLen, d.SubnetMin, d.SubnetMax)
	}
	switch {
	case v6:
		cfg.V6 = v6Fields.rangeOf(d, d.IPv6Network, d.IPv6SubnetLen, d.IPv6SubnetMin, d.IPv6SubnetMax)
	case d.IPv6Network != nil:
		d.warnf("IPv6Network is ignored, since EnableIPv6 is not true")
	}
	cfg.Type = DefaultBackend
	if d.Backend == nil {
		return cfg
	}
	cfg.Backend, cfg.backendAt = *d.Backend, d.errorf("Backend", "", "")
	typ, err := backendType(d)
	cfg.Type = typ
	d.wrong.Add(err)
	return cfg
}
