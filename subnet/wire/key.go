// Package wire spells leases as every release of the original does: the key
// under <prefix>/subnets and the JSON value (CONTRACT 2.1 and 2.2). It is the
// only place that knows how two families share one key.
package wire

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"

	"flanneld/subnet"
)

// Prefix lengths beyond these were never valid in a key.
const (
	maxBits4 = 31
	maxBits6 = 127
)

// keyForm is what releases since 0.17 read. Theirs is not anchored at the
// start; a key that has anything before the address was never written by one.
var keyForm = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+)-(\d{1,2})(?:&([0-9A-Fa-f:.]+)-(\d{1,3}))?$`)

// Key returns the last element of a lease's key: "10.5.27.0-24", or with IPv6
// "10.5.27.0-24&fd00:5:0:1b::-64".
func Key(k subnet.Key) string {
	s := fmt.Sprintf("%s-%d", k.V4.Addr(), k.V4.Bits())
	if k.V6.IsValid() {
		s += fmt.Sprintf("&%s-%d", k.V6.Addr(), k.V6.Bits())
	}
	return s
}

// ParseKey reads what Key writes. The error says what is wrong with it.
func ParseKey(s string) (subnet.Key, error) {
	m := keyForm.FindStringSubmatch(s)
	if m == nil {
		return subnet.Key{}, fmt.Errorf("parse lease key %q: not of the form A.B.C.D-LEN", s)
	}
	v4, err := parsePrefix(m[1], m[2], maxBits4)
	if err == nil && !v4.Addr().Is4() {
		err = fmt.Errorf("%s is not an IPv4 address", m[1])
	}
	if err != nil {
		return subnet.Key{}, fmt.Errorf("parse lease key %q: %w", s, err)
	}
	k := subnet.Key{V4: v4}
	if m[3] != "" {
		k.V6, err = parsePrefix(m[3], m[4], maxBits6)
		if err == nil && (!k.V6.Addr().Is6() || k.V6.Addr().Is4In6()) {
			err = fmt.Errorf("%s is not an IPv6 address", m[3])
		}
		if err != nil {
			return subnet.Key{}, fmt.Errorf("parse lease key %q: %w", s, err)
		}
	}
	return k, nil
}

func parsePrefix(addr, length string, most int) (netip.Prefix, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 1 || bits > most {
		return netip.Prefix{}, fmt.Errorf("prefix length %s is not between 1 and %d", length, most)
	}
	p := netip.PrefixFrom(a, bits)
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is no network's address, which would be %s", p, p.Masked())
	}
	return p, nil
}
