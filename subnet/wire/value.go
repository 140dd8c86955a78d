package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"flanneld/subnet"
)

// value has the fields in the order that releases since 0.15 write them.
type value struct {
	PublicIP      string
	PublicIPv6    *string         // null without IPv6; never left out
	BackendType   string          `json:",omitempty"`
	BackendData   json.RawMessage `json:",omitempty"`
	BackendV6Data json.RawMessage `json:",omitempty"`
}

// maxValue bounds what is read of one lease, in bytes. Real ones have 343.
const maxValue = 64 << 10

// Encode returns a lease's value, byte for byte as releases since 0.15 write it.
func Encode(l subnet.Lease) (string, error) {
	if !l.V4.PublicIP.Is4() {
		// An IPv6 literal there ends every daemon up to 0.28.8.
		return "", fmt.Errorf("encode lease %s: PublicIP %s is not an IPv4 address", l.Key(), l.V4.PublicIP)
	}
	v := value{PublicIP: l.V4.PublicIP.String(), BackendType: l.Type,
		BackendData: raw(l.V4.Data), BackendV6Data: raw(l.V6.Data)}
	if l.V6.PublicIP.IsValid() {
		s := l.V6.PublicIP.String()
		v.PublicIPv6 = &s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode lease %s: %w", l.Key(), err)
	}
	return string(b), nil
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

// Decode reads a lease from the last element of its key and its value. Fields
// that are not known are ignored, and a PublicIP that is none is an error.
// Expires and Rev are left to the caller.
func Decode(key, val string) (subnet.Lease, error) {
	k, err := ParseKey(key)
	if err != nil {
		return subnet.Lease{}, err
	}
	l, err := decode(k, val)
	if err != nil {
		return subnet.Lease{}, fmt.Errorf("parse value of lease %s: %w", k, err)
	}
	return l, nil
}

func decode(k subnet.Key, val string) (subnet.Lease, error) {
	if len(val) > maxValue {
		return subnet.Lease{}, fmt.Errorf("%d bytes are more than %d", len(val), maxValue)
	}
	var v value
	if err := json.Unmarshal([]byte(val), &v); err != nil {
		return subnet.Lease{}, err
	}
	ip, err := netip.ParseAddr(v.PublicIP)
	if err == nil && !ip.Is4() {
		err = errors.New("not an IPv4 address")
	}
	if err != nil {
		return subnet.Lease{}, fmt.Errorf("PublicIP %q: %w", v.PublicIP, err)
	}
	l := subnet.Lease{V4: subnet.Claim{Subnet: k.V4, PublicIP: ip, Data: data(v.BackendData)}, Type: v.BackendType}
	if !k.V6.IsValid() {
		return l, nil
	}
	l.V6 = subnet.Claim{Subnet: k.V6, Data: data(v.BackendV6Data)}
	if v.PublicIPv6 != nil {
		ip6, err := netip.ParseAddr(*v.PublicIPv6)
		if err == nil && (!ip6.Is6() || ip6.Is4In6() || ip6.Zone() != "") {
			err = errors.New("not an IPv6 address")
		}
		if err != nil {
			return subnet.Lease{}, fmt.Errorf("PublicIPv6 %q: %w", *v.PublicIPv6, err)
		}
		l.V6.PublicIP = ip6
	}
	return l, nil
}

// data keeps a backend's JSON as it is written, without its blanks: that is
// what Encode makes of it.
func data(r json.RawMessage) string {
	var b bytes.Buffer
	if len(r) == 0 || string(r) == "null" || json.Compact(&b, r) != nil {
		return ""
	}
	return b.String()
}
