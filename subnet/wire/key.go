// Package wire spells leases as every release of the original does: the key under
// <prefix>/subnets and the JSON value. It is the only place that knows how two families
// share one key. It does not know which store they lie in.
package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"flanneld/pkg/words"
	"flanneld/subnet"
)

// maxKey bounds a key, in bytes. The longest that is valid has 65.
const maxKey = 128

// Key returns the last element of a lease's key: "10.5.27.0-24", or with IPv6
// "10.5.27.0-24&fd00:5:0:1b::-64". It must have an IPv4 subnet: what Key makes
// of one without cannot be parsed, and Encode refuses such a lease.
func Key(k subnet.Key) string {
	s := spell(k.V4)
	if k.V6.IsValid() {
		s += "&" + spell(k.V6)
	}
	return s
}

func spell(p netip.Prefix) string { return p.Addr().String() + "-" + strconv.Itoa(p.Bits()) }

// ParseKey reads what Key writes, and other spellings of the same addresses that
// releases read too, such as upper case. The error says what is wrong with it. An
// address with bits set beyond the prefix length is an error: no release writes
// one, and nobody can say which subnet was meant.
func ParseKey(s string) (subnet.Key, error) {
	k, err := parseKey(s)
	if err != nil {
		return subnet.Key{}, fmt.Errorf("parse lease key %q: %w", words.Clip(s), err)
	}
	return k, nil
}

func parseKey(s string) (k subnet.Key, err error) {
	if len(s) > maxKey {
		return k, fmt.Errorf("%d bytes are more than %d", len(s), maxKey)
	}
	v4, v6, both := strings.Cut(s, "&")
	if k.V4, err = parsePrefix(v4, 4); err == nil && both {
		k.V6, err = parsePrefix(v6, 6)
	}
	return k, err
}

// parsePrefix reads no more than releases since 0.17 do: digits, and for the length no
// number that has more than the 5 or 7 bits that they have for it.
func parsePrefix(s string, family int) (netip.Prefix, error) {
	const digits = "0123456789"
	most, letters := 31, digits+"."
	if family == 6 {
		most, letters = 127, digits+".:ABCDEFabcdef"
	}
	addr, length, _ := strings.Cut(s, "-")
	if addr == "" || strings.Trim(addr, letters) != "" || length == "" || len(length) > len(strconv.Itoa(most)) || strings.Trim(length, digits) != "" {
		return netip.Prefix{}, errors.New("not of the form A.B.C.D-LEN")
	}
	a, err := netip.ParseAddr(addr)
	valid := a.Is4()
	if family == 6 {
		valid = isIPv6(a)
	}
	if err != nil || !valid {
		return netip.Prefix{}, fmt.Errorf("%s is not an IPv%d address", words.Clip(addr), family)
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 1 || bits > most {
		return netip.Prefix{}, fmt.Errorf("prefix length %s is not between 1 and %d", length, most)
	}
	p := netip.PrefixFrom(a, bits)
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("%s has host bits set; the subnet's address would be %s", p, p.Masked().Addr())
	}
	return p, nil
}
