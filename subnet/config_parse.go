package subnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// DefaultBackend is the type when the document names no backend, in every
// release.
const DefaultBackend = "udp"

// document is the configuration as written. Pointers tell what is absent.
type document struct {
	EnableIPv4     *bool
	EnableIPv6     *bool
	EnableNFTables *bool
	Network        *string
	IPv6Network    *string
	SubnetMin      *string
	SubnetMax      *string
	IPv6SubnetMin  *string
	IPv6SubnetMax  *string
	SubnetLen      *int
	IPv6SubnetLen  *int
	Backend        *json.RawMessage

	raw []byte
	at  map[string]int // offset of each value, by the field's proper name
}

// known lists the fields in the order that they are documented.
var known = [...]string{
	"Network", "SubnetLen", "SubnetMin", "SubnetMax", "Backend",
	"EnableIPv4", "EnableIPv6", "EnableNFTables",
	"IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax",
}

// ParseConfig reads a configuration document, applies every default and rule
// (docs/configuration.md) and returns what in it deserves a warning. The error
// is a *ConfigError.
func ParseConfig(doc []byte) (Config, []string, error) {
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	d, warnings, err := readDocument(doc)
	if err != nil {
		return Config{}, nil, err
	}
	cfg, err := d.config()
	if err != nil {
		return Config{}, nil, err
	}
	if bits := cfg.V4.Network.Bits(); d.SubnetLen == nil && bits > 22 {
		warnings = append(warnings, fmt.Sprintf("no SubnetLen for the Network %s: releases before 0.10 choose another default than /%d; set SubnetLen if hosts of these are in the cluster",
			cfg.V4.Network, cfg.V4.SubnetLen))
	}
	return cfg, warnings, nil
}

func readDocument(doc []byte) (document, []string, error) {
	fields, err := splitConfig(doc)
	if err != nil {
		return document{}, nil, err
	}
	d := document{raw: doc, at: make(map[string]int)}
	into := map[string]any{
		"EnableIPv4": &d.EnableIPv4, "EnableIPv6": &d.EnableIPv6, "EnableNFTables": &d.EnableNFTables,
		"Network": &d.Network, "IPv6Network": &d.IPv6Network,
		"SubnetMin": &d.SubnetMin, "SubnetMax": &d.SubnetMax,
		"IPv6SubnetMin": &d.IPv6SubnetMin, "IPv6SubnetMax": &d.IPv6SubnetMax,
		"SubnetLen": &d.SubnetLen, "IPv6SubnetLen": &d.IPv6SubnetLen, "Backend": &d.Backend,
	}
	var warnings []string
	var unknown []*ConfigError
	for _, f := range fields {
		name := properName(f.name)
		if name == "" {
			e := configErrorAt(doc, f.at, fmt.Sprintf("unknown key %q", f.name), "it is ignored")
			if like := nearest(f.name, known[:]); like != "" {
				e.Hint = fmt.Sprintf("did you mean %q? It is ignored", like)
			}
			unknown = append(unknown, e)
			warnings = append(warnings, e.Error())
			continue
		}
		if _, twice := d.at[name]; twice {
			return d, nil, configErrorAt(doc, f.at, fmt.Sprintf("%q is there twice", name), "remove one")
		}
		d.at[name] = f.valued
		if err := json.Unmarshal(f.value, into[name]); err != nil {
			return d, nil, d.errorf(name, typeHint(name), "%s is %s", name, jsonType(f.value))
		}
	}
	if d.Network == nil {
		for _, e := range unknown {
			if strings.Contains(e.Hint, `"Network"`) {
				e.Hint = `did you mean "Network"? There is none`
				return d, nil, e
			}
		}
	}
	return d, warnings, nil
}

// properName returns how a key is spelt; keys are matched without regard to
// case, as in every release.
func properName(name string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return ""
}

func jsonType(v json.RawMessage) string {
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
	return "the number " + string(v)
}

func typeHint(name string) string {
	switch name {
	case "SubnetLen", "IPv6SubnetLen":
		return "write a whole number without quotes, such as 24"
	case "EnableIPv4", "EnableIPv6", "EnableNFTables":
		return "write true or false without quotes"
	case "Network", "IPv6Network":
		return `write a network in quotes, such as "10.100.0.0/16"`
	case "Backend":
		return `write an object, such as {"Type":"vxlan"}`
	}
	return `write an address in quotes, such as "10.100.1.0"`
}

// errorf makes an error about the value of a field; about the document as a
// whole if the field is absent.
func (d *document) errorf(name, hint, format string, args ...any) *ConfigError {
	at, ok := d.at[name]
	if !ok {
		return &ConfigError{Msg: fmt.Sprintf(format, args...), Hint: hint}
	}
	return configErrorAt(d.raw, at, fmt.Sprintf(format, args...), hint)
}

func (d *document) config() (Config, error) {
	var cfg Config
	v4 := d.EnableIPv4 == nil || *d.EnableIPv4
	v6 := d.EnableIPv6 != nil && *d.EnableIPv6
	switch {
	case !v4 && !v6:
		return cfg, d.errorf("EnableIPv4", "set EnableIPv4 to true", "neither IPv4 nor IPv6 is enabled")
	case !v4:
		return cfg, d.errorf("EnableIPv4", "enable both: no release can lease IPv6 subnets alone through etcd", "IPv6 without IPv4 is not supported")
	}
	var err error
	if cfg.V4, err = d.rangeOf(v4Fields, d.Network, d.SubnetLen, d.SubnetMin, d.SubnetMax); err != nil {
		return cfg, err
	}
	if v6 {
		if cfg.V6, err = d.rangeOf(v6Fields, d.IPv6Network, d.IPv6SubnetLen, d.IPv6SubnetMin, d.IPv6SubnetMax); err != nil {
			return cfg, err
		}
	}
	cfg.NFTables = d.EnableNFTables != nil && *d.EnableNFTables
	cfg.Type = DefaultBackend
	if d.Backend == nil {
		return cfg, nil
	}
	cfg.Backend = *d.Backend
	var backend struct{ Type *string }
	if err := json.Unmarshal(cfg.Backend, &backend); err != nil {
		return cfg, d.errorf("Backend", typeHint("Backend"), "Backend is not an object with a Type in quotes")
	}
	if backend.Type == nil || *backend.Type == "" {
		return cfg, d.errorf("Backend", `add "Type":"vxlan" or another`, "Backend has no Type")
	}
	cfg.Type = strings.ToLower(*backend.Type)
	return cfg, nil
}

// familyFields names one family's fields and limits.
type familyFields struct {
	network, length, min, max string
	bits                      int // of an address
	most                      int // largest SubnetLen
	defaultLen                int
	example                   string
}

var (
	v4Fields = familyFields{"Network", "SubnetLen", "SubnetMin", "SubnetMax", 32, 30, 24, "10.100.0.0/16"}
	v6Fields = familyFields{"IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", 128, 126, 64, "fd00:100::/48"}
)

func (d *document) rangeOf(f familyFields, network *string, length *int, least, most *string) (Range, error) {
	if network == nil {
		return Range{}, &ConfigError{Msg: f.network + " is missing",
			Hint: fmt.Sprintf("please define a correct %s parameter in the flannel config, such as %q", f.network, f.example)}
	}
	p, err := netip.ParsePrefix(*network)
	if err != nil || p.Addr().BitLen() != f.bits {
		return Range{}, d.errorf(f.network, fmt.Sprintf("write it as %q", f.example), "%s %q is not a network", f.network, *network)
	}
	r := Range{Network: p.Masked()}
	if r.SubnetLen, err = d.subnetLen(f, r.Network, length); err != nil {
		return Range{}, err
	}
	r.Min, r.Max = nextSubnet(r.Network.Addr(), r.SubnetLen), lastSubnet(r.Network, r.SubnetLen)
	if r.Min, err = d.bound(f.min, least, r, r.Min); err != nil {
		return Range{}, err
	}
	if r.Max, err = d.bound(f.max, most, r, r.Max); err != nil {
		return Range{}, err
	}
	if r.Max.Less(r.Min) {
		return Range{}, d.errorf(f.min, "swap them", "%s %s lies after %s %s", f.min, r.Min, f.max, r.Max)
	}
	return r, nil
}

func (d *document) subnetLen(f familyFields, network netip.Prefix, length *int) (int, error) {
	largest := f.most - 2
	if network.Bits() > largest {
		return 0, d.errorf(f.network, fmt.Sprintf("a network of /%d or larger is needed", largest),
			"Network is too small. Minimum useful network prefix is /%d", largest)
	}
	if length == nil {
		if network.Bits() <= f.defaultLen-2 {
			return f.defaultLen, nil
		}
		return network.Bits() + 2, nil
	}
	switch {
	case *length > f.most:
		return 0, d.errorf(f.length, fmt.Sprintf("%d is the longest", f.most), "%s must be less than /%d", f.length, f.most+1)
	case *length < network.Bits()+2:
		return 0, d.errorf(f.length, fmt.Sprintf("with the %s %s it is %d or more", f.network, network, network.Bits()+2),
			"Network must be able to accommodate at least four subnets; %s is %d", f.length, *length)
	}
	return *length, nil
}

// bound reads SubnetMin or SubnetMax; without one it is what def says.
func (d *document) bound(name string, written *string, r Range, def netip.Addr) (netip.Addr, error) {
	if written == nil {
		return def, nil
	}
	a, err := netip.ParseAddr(*written)
	if err != nil || a.BitLen() != r.Network.Addr().BitLen() {
		return a, d.errorf(name, fmt.Sprintf("write it as %q", def), "%s %q is not an address", name, *written)
	}
	if !r.Network.Contains(a) {
		return a, d.errorf(name, fmt.Sprintf("the Network is %s", r.Network), "%s is not in the range of the Network: %s", name, a)
	}
	if aligned := netip.PrefixFrom(a, r.SubnetLen).Masked().Addr(); aligned != a {
		return a, d.errorf(name, fmt.Sprintf("the subnet around it begins at %s", aligned), "%s is not on a SubnetLen boundary: %s", name, a)
	}
	return a, nil
}

// nextSubnet returns the network address after a's, in steps of the subnet.
func nextSubnet(a netip.Addr, length int) netip.Addr {
	b := a.AsSlice()
	carry := 1 << ((8 - length%8) % 8)
	for i := (length - 1) / 8; i >= 0 && carry > 0; i-- {
		carry += int(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	next, _ := netip.AddrFromSlice(b)
	return next
}

// lastSubnet returns the network address of the last subnet in a network.
func lastSubnet(network netip.Prefix, length int) netip.Addr {
	b := network.Addr().AsSlice()
	for i := network.Bits(); i < length; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// Difference says what differs between two configurations, for people; it is
// empty if nothing does.
func Difference(a, b Config) string {
	var parts []string
	add := func(name string, x, y any) {
		if fmt.Sprint(x) != fmt.Sprint(y) {
			parts = append(parts, fmt.Sprintf("%s %v → %v", name, x, y))
		}
	}
	for _, f := range []struct {
		prefix string
		a, b   Range
	}{{"", a.V4, b.V4}, {"IPv6", a.V6, b.V6}} {
		add(f.prefix+"Network", f.a.Network, f.b.Network)
		add(f.prefix+"SubnetLen", f.a.SubnetLen, f.b.SubnetLen)
		add(f.prefix+"SubnetMin", f.a.Min, f.b.Min)
		add(f.prefix+"SubnetMax", f.a.Max, f.b.Max)
	}
	add("Backend type", a.Type, b.Type)
	add("Backend", compact(a.Backend), compact(b.Backend))
	add("EnableNFTables", a.NFTables, b.NFTables)
	return strings.Join(parts, ", ")
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}
