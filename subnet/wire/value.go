package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"flanneld/pkg/words"
	"flanneld/subnet"
)

// value has the fields in the order that releases since 0.15 write them.
type value struct {
	PublicIP      string
	PublicIPv6    *string         // null without IPv6; never left out
	BackendType   string          `json:",omitempty"`
	BackendData   json.RawMessage `json:",omitempty"`
	BackendV6Data json.RawMessage `json:",omitempty"`
	NodeID        json.RawMessage `json:",omitempty"` // ours alone, as are the two below; released readers pass them over
	Contest       json.RawMessage `json:",omitempty"`
	Mirror        json.RawMessage `json:",omitempty"`
}

// maxValue bounds what is read of one lease, in bytes. Real ones have less than
// 400; etcd itself would store more than a megabyte.
const maxValue = 64 << 10

// maxNode bounds the id of a node, in bytes, and the two marks as well.
const maxNode = 64

// Encode returns a lease's value, byte for byte as releases since 0.15 write it, and
// with the node's id at the end if there is one: the claims' Data goes in without
// blanks and with <, > and & escaped, which is what encoding/json does to a RawMessage.
//
// It refuses what would harm other hosts: a PublicIP that is not IPv4, since an IPv6
// literal there ends every daemon up to 0.28.8, a lease whose key nobody could read,
// which stops the watches of others, and Data that is no JSON.
func Encode(l subnet.Lease) (string, error) {
	s, err := encode(l)
	if err != nil {
		return "", fmt.Errorf("encode lease %s: %w", l.Key(), err)
	}
	return s, nil
}

func encode(l subnet.Lease) (string, error) {
	if k, err := ParseKey(Key(l.Key())); err != nil || k != l.Key() {
		return "", errors.New("its subnets make no valid key")
	}
	switch {
	case !l.V4.PublicIP.IsValid():
		return "", errors.New("PublicIP is missing")
	case !l.V4.PublicIP.Is4():
		return "", fmt.Errorf("PublicIP %s is not an IPv4 address", l.V4.PublicIP)
	}
	v := value{PublicIP: l.V4.PublicIP.String(), BackendType: l.Type, BackendData: json.RawMessage(l.V4.Data)}
	if !l.V6.IsZero() {
		v.BackendV6Data = json.RawMessage(l.V6.Data)
		if ip := l.V6.PublicIP; ip.IsValid() {
			if !isIPv6(ip) {
				return "", fmt.Errorf("PublicIPv6 %s is not an IPv6 address", ip)
			}
			s := ip.String()
			v.PublicIPv6 = &s
		}
	}
	if l.Node != "" {
		if !isNode(l.Node) {
			return "", fmt.Errorf("node id %q is not of 1 to %d letters, digits and hyphens", words.Clip(l.Node), maxNode)
		}
		v.NodeID = json.RawMessage(`"` + l.Node + `"`)
	}
	if isNode(l.Contest) {
		v.Contest = json.RawMessage(`"` + l.Contest + `"`)
	}
	if isNode(l.Mirror) {
		v.Mirror = json.RawMessage(`"` + l.Mirror + `"`)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write backend data: %w", err)
	}
	// What is written must be readable by this daemon too.
	if len(b) > maxValue {
		return "", fmt.Errorf("its value has %d bytes, more than %d", len(b), maxValue)
	}
	return string(b), nil
}

// Decode reads a lease from the last element of its key and its value. Fields
// that are not known are ignored, names are matched without regard to case, and
// a claim's Data is kept byte for byte as it lies in the value. What a value
// says of IPv6 counts only if the key has an IPv6 subnet. Expires and Rev are
// left to the caller. The error names the key and what is wrong.
func Decode(key, val string) (subnet.Lease, error) {
	k, err := ParseKey(key)
	if err != nil {
		return subnet.Lease{}, err
	}
	l, err := decode(k, val)
	if err != nil {
		return subnet.Lease{}, fmt.Errorf("parse value of lease %s: %w", words.Clip(key), err)
	}
	return l, nil
}

func decode(k subnet.Key, val string) (subnet.Lease, error) {
	if len(val) > maxValue {
		return subnet.Lease{}, fmt.Errorf("%d bytes are more than %d", len(val), maxValue)
	}
	var v value
	if err := json.Unmarshal([]byte(val), &v); err != nil {
		return subnet.Lease{}, explain(err)
	}
	ip, err := netip.ParseAddr(v.PublicIP)
	switch {
	case v.PublicIP == "":
		return subnet.Lease{}, errors.New("PublicIP is missing")
	case err != nil || !ip.Is4():
		return subnet.Lease{}, fmt.Errorf("PublicIP %q is not an IPv4 address", words.Clip(v.PublicIP))
	}
	l := subnet.Lease{V4: subnet.Claim{Subnet: k.V4, PublicIP: ip, Data: data(v.BackendData)}, Type: v.BackendType,
		Node: node(v.NodeID), Contest: node(v.Contest), Mirror: node(v.Mirror)}
	if !k.V6.IsValid() {
		return l, nil
	}
	l.V6 = subnet.Claim{Subnet: k.V6, Data: data(v.BackendV6Data)}
	if v.PublicIPv6 == nil {
		return l, nil
	}
	if l.V6.PublicIP, err = netip.ParseAddr(*v.PublicIPv6); err != nil || !isIPv6(l.V6.PublicIP) {
		return subnet.Lease{}, fmt.Errorf("PublicIPv6 %q is not an IPv6 address", words.Clip(*v.PublicIPv6))
	}
	return l, nil
}

// isIPv6 reports whether other hosts can send to the address by IPv6: not a
// mapped IPv4 address, and no zone, which means something on one host only.
func isIPv6(ip netip.Addr) bool { return ip.Is6() && !ip.Is4In6() && ip.Zone() == "" }

// node reads a node's id. A value that is none of ours is left out; it is no reason to
// refuse the lease.
func node(raw json.RawMessage) string {
	var s string
	if raw == nil || json.Unmarshal(raw, &s) != nil || !isNode(s) {
		return ""
	}
	return s
}

func isNode(s string) bool {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"
	return s != "" && len(s) <= maxNode && strings.Trim(s, letters) == ""
}

// data returns a backend's JSON as it is; null is the same as none.
func data(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// explain says in the terms of a lease what encoding/json found.
func explain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("not a JSON object but of type %s", e.Value)
		}
		return fmt.Errorf("%s is of type %s, not string", e.Field, words.Clip(e.Value))
	}
	return fmt.Errorf("not JSON: %w", err)
}
