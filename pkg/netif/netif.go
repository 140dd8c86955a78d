// Package netif chooses the network interface over which a host is reached by
// others. It decides by what the operator asked for and what the kernel has; it
// changes nothing and does not know what the interface will carry.
package netif

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
)

// Query says which interface is wanted: the first that one of Names, then one
// of Regexps, then CanReach selects. Without any of the three it is the
// interface that has the public address, if one is set, else the one of the
// default route. The zero Query asks for the default route's.
//
// An IPv4 address is always needed.
type Query struct {
	Names                []string   // interface names or addresses, tried in order
	Regexps              []string   // matched anywhere in an address, then anywhere in a name
	CanReach             netip.Addr // the interface that the kernel uses to reach it; zero: not asked for
	PublicIP, PublicIPv6 netip.Addr // zero: not known; PublicIPv6 counts with V6 only
	V6                   bool       // an IPv6 address on the same interface is needed, too

	// Exclude reports whether the interface with this name and alias is never to
	// be chosen; nil: any may be.
	Exclude func(name, alias string) bool
}

// Interface is a network interface that others can reach this host by.
type Interface struct {
	Name   string
	Index  int
	MTU    int        // bytes, never 0
	V4, V6 netip.Addr // the addresses to use; V6 is zero unless it was asked for
}

// ErrNoMatch is returned when nothing on this host is what the query asks for.
var ErrNoMatch = errors.New("no matching interface")

// Find reads the kernel's tables and chooses the interface. A bad regular
// expression is an error before anything else is looked at. When no interface
// is chosen, the error lists those that could be asked for.
func Find(q Query, log *slog.Logger) (Interface, error) {
	exprs, err := compile(q.Regexps)
	if err != nil {
		return Interface{}, err
	}
	s, err := gather(q.V6, q.Exclude)
	if err != nil {
		return Interface{}, fmt.Errorf("list network interfaces: %w", err)
	}
	return choose(s, q, exprs, log)
}

func choose(s *snapshot, q Query, exprs []*regexp.Regexp, log *slog.Logger) (Interface, error) {
	found, err := pick(s, q, exprs, log)
	if err != nil {
		return Interface{}, fmt.Errorf("find external interface: %w; candidates are %s", err, s.candidates())
	}
	attrs := []any{"mtu", found.MTU}
	if q.V6 {
		attrs = append(attrs, "v6", found.V6)
	}
	log.Info(fmt.Sprintf("Using interface with name %s and address %s", found.Name, found.V4), attrs...)
	return found, nil
}

func compile(exprs []string) ([]*regexp.Regexp, error) {
	var all []*regexp.Regexp
	for _, expr := range exprs {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, fmt.Errorf("parse --iface-regex %q: %w", expr, err)
		}
		all = append(all, re)
	}
	return all, nil
}
