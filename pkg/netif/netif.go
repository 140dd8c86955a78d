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
	"slices"
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
	s, err := gather(q.V6)
	if err != nil {
		return Interface{}, fmt.Errorf("list network interfaces: %w", err)
	}
	s.exclude(q.Exclude)
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

// pick chooses; it asks the kernel nothing but s.reach. What was tried in vain
// is logged, since another try may succeed after it.
func pick(s *snapshot, q Query, exprs []*regexp.Regexp, log *slog.Logger) (Interface, error) {
	if len(q.Names) == 0 && len(exprs) == 0 && !q.CanReach.IsValid() {
		return s.byDefault(q, log)
	}
	for _, name := range q.Names {
		found, err := s.byName(name, q.V6, log)
		if err == nil {
			return found, nil
		}
		log.Info("Could not find valid interface matching "+name, "err", err)
	}
	for _, expr := range exprs {
		found, err := s.byRegexp(expr, q.V6)
		if err == nil {
			return found, nil
		}
		log.Info("Could not find valid interface matching "+expr.String(), "err", err)
	}
	if q.CanReach.IsValid() {
		found, err := s.byReach(q.CanReach, q.V6)
		if err == nil {
			return found, nil
		}
		log.Info("Could not find valid interface to reach "+q.CanReach.String(), "err", err)
	}
	return Interface{}, fmt.Errorf("%w for --iface, --iface-regex or --iface-can-reach", ErrNoMatch)
}

// byName finds an interface by one of its names or by an address that it has,
// which is then the one to use.
func (s *snapshot) byName(name string, v6 bool, log *slog.Logger) (Interface, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		log.Info("Searching for interface using " + name)
		return s.byAddr(v6, ip)
	}
	for _, l := range s.links {
		if l.name == name || slices.Contains(l.altNames, name) {
			return l.use(v6)
		}
	}
	return Interface{}, fmt.Errorf("%w: %s does not exist", ErrNoMatch, name)
}

// byAddr finds the interface that has all of the addresses. A zone must be its
// name: many interfaces can have the same link-local address.
func (s *snapshot) byAddr(v6 bool, ips ...netip.Addr) (Interface, error) {
	failed := fmt.Errorf("%w: none has %s", ErrNoMatch, join(ips, " and "))
	for _, l := range s.links {
		if !l.hasAll(ips) {
			continue
		}
		// A load balancer's address can be on lo and on a real interface.
		found, err := l.use(v6, ips...)
		if err == nil {
			return found, nil
		}
		failed = err
	}
	return Interface{}, failed
}

// byReach finds the interface from which the kernel would send to target, and
// uses the source address that it would choose.
func (s *snapshot) byReach(target netip.Addr, v6 bool) (Interface, error) {
	index, source, err := s.reach(target)
	if err != nil {
		return Interface{}, fmt.Errorf("look up route to %s: %w", target, err)
	}
	l, ok := s.link(index)
	switch {
	case !ok:
		return Interface{}, fmt.Errorf("%w: the route to %s leaves by interface %d", ErrNoMatch, target, index)
	case !source.IsValid():
		return l.use(v6)
	}
	return l.use(v6, source)
}

// byRegexp looks for an address that matches, then for a name. The first
// interface that matches and can be used wins. In the first pass a matching
// address of each family is needed.
func (s *snapshot) byRegexp(expr *regexp.Regexp, v6 bool) (Interface, error) {
	failed := fmt.Errorf("%w: no address and no name matches", ErrNoMatch)
	try := func(l link, ips ...netip.Addr) (Interface, bool) {
		found, err := l.use(v6, ips...)
		if err != nil {
			failed = err
		}
		return found, err == nil
	}
	matches := func(ip netip.Addr) bool { return expr.MatchString(ip.String()) }
	for _, l := range s.links {
		four, six := l.first(netip.Addr.Is4, matches), l.first(netip.Addr.Is6, matches)
		if !four.IsValid() || v6 && !six.IsValid() {
			continue
		}
		if found, ok := try(l, four, six); ok {
			return found, nil
		}
	}
	for _, l := range s.links {
		if !expr.MatchString(l.name) {
			continue
		}
		if found, ok := try(l); ok {
			return found, nil
		}
	}
	return Interface{}, failed
}
