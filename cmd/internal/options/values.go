package options

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"flanneld/pkg/flagtable"
)

// unquoted refuses quotes at the ends of a value. A shell and systemd remove them;
// docker's --env-file and some init scripts do not, and they would become part of a key
// or of a path.
func unquoted(set flagtable.Setter) flagtable.Setter {
	return func(value, from string) error {
		if value = strings.TrimSpace(value); strings.Trim(value, `"'`) != value {
			return UsageError{Msg: from + " has quotes around its value", Hint: "leave the quotes out: here they are part of the value"}
		}
		return set(value, from)
	}
}

// address takes an IP address, or nothing. bits is 32 or 128 to demand a family,
// or 0 for either.
func address(into *netip.Addr, bits int, hint string) flagtable.Setter {
	return flagtable.Parsed(into, hint, func(value string) (netip.Addr, bool) {
		if value = strings.TrimSpace(value); value == "" {
			return netip.Addr{}, true
		}
		a, err := netip.ParseAddr(value)
		a = a.Unmap()
		return a, err == nil && (bits == 0 || a.BitLen() == bits) && !a.IsUnspecified() && !a.IsMulticast() && a.Zone() == ""
	})
}

func regexps(into *[]string) flagtable.Setter {
	return func(value, from string) error {
		if _, err := regexp.Compile(strings.TrimSpace(value)); err != nil {
			return UsageError{
				Msg:  fmt.Sprintf("invalid value %q for %s: %v", value, from, err),
				Hint: "give a regular expression such as eth[0-9]+",
			}
		}
		return flagtable.List(into)(value, from)
	}
}

// whole takes a whole number of a unit, from 1 to most.
func whole(into *time.Duration, unit time.Duration, most int, hint string) flagtable.Setter {
	return func(value, from string) error {
		var n int
		err := flagtable.Int(&n, 1, most, hint)(value, from)
		*into = time.Duration(n) * unit
		return err
	}
}

func renewMargin(into *time.Duration) flagtable.Setter {
	return func(value, from string) error {
		const hint = "give 1 to 1439 minutes"
		err := whole(into, time.Minute, 1439, hint)(value, from)
		if e, ok := errors.AsType[UsageError](err); ok && e.Hint == hint { // in the words of older releases
			e.Msg = fmt.Sprintf("invalid subnet-lease-renew-margin option, out of acceptable range: %s=%s", from, value)
			return e
		}
		return err
	}
}

// duration takes at least a second.
func duration(value string) (time.Duration, bool) {
	d, err := time.ParseDuration(value)
	return d, err == nil && d >= time.Second
}

// either takes one of two words, of which yes means true.
func either(into *bool, yes, no string) flagtable.Setter {
	return func(value, from string) error {
		*into = value == yes
		return flagtable.Choice(new(string), yes, no)(value, from)
	}
}

func peerFilter(into *bool) flagtable.Setter {
	return func(value, from string) error {
		if value == "strict" {
			return flagtable.Invalid(value, from, "strict is gone: give on, which lets in only sources in leased subnets")
		}
		return either(into, "on", "off")(value, from)
	}
}

// bridge takes the name of an interface, or nothing.
func bridge(name string) (string, bool) {
	return name, len(name) <= 15 && !strings.ContainsAny(name, "/: \t") && name != "." && name != ".."
}

// words splits a list at its commas, and leaves out what is blank. A variable
// cannot be repeated as a flag can.
func words(value string) []string {
	var out []string
	for w := range strings.SplitSeq(value, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// prefixes takes networks, and addresses that stand for themselves.
func prefixes(into *[]netip.Prefix) flagtable.Setter {
	return func(value, from string) error {
		for _, w := range words(value) {
			p, err := netip.ParsePrefix(w)
			if a, bad := netip.ParseAddr(w); bad == nil {
				p, err = a.Prefix(a.BitLen())
			}
			if err != nil {
				return flagtable.Invalid(w, from, "give a network such as 192.0.2.0/24, or an address; repeat the flag for more")
			}
			*into = append(*into, p.Masked())
		}
		return nil
	}
}

// subset takes some of the words known.
func subset(into *[]string, known ...string) flagtable.Setter {
	return func(value, from string) error {
		*into = nil
		for _, w := range words(value) {
			if !slices.Contains(known, w) {
				return flagtable.Invalid(w, from, "give some of "+strings.Join(known, ", "))
			}
			if !slices.Contains(*into, w) {
				*into = append(*into, w)
			}
		}
		return nil
	}
}

var hostName = regexp.MustCompile(`^[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?$`)

// isHost reports whether s is what one can listen on: an address, a name whose
// last label is no number, or nothing, which is all addresses.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || s == "" {
		return true
	}
	last := s[strings.LastIndexByte(strings.TrimSuffix(s, "."), '.')+1:]
	return hostName.MatchString(s) && strings.Trim(last, "0123456789.") != ""
}
