// Package netif chooses the network interface over which a host is reached by
// others. It decides by what the operator asked for and what the kernel has; it
// changes nothing.
package netif

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Query says which interface is wanted. Names, then Regexps, then CanReach are
// tried, in order; if any is given and none matches that is an error. Without
// any, the interface that has PublicV4 is taken, else the default route's.
type Query struct {
	Names              []string // interface names or IP addresses
	Regexps            []string // matched anywhere in addresses, then in names
	CanReach           netip.Addr
	PublicV4, PublicV6 netip.Addr
	V6                 bool // an IPv6 address is needed, too
}

// Interface is a network interface that can carry a tunnel.
type Interface struct {
	Name   string
	Index  int
	MTU    int // bytes
	V4, V6 netip.Addr
}

// table is what the kernel has.
type table struct {
	ifaces       []iface
	defaultRoute func(v6 bool) (index int, err error)
	reach        func(netip.Addr) (index int, source netip.Addr, err error)
}

type iface struct {
	Interface
	loopback bool
	addrs    []netip.Addr // best first
}

// errNoMatch: what was asked for is not there.
var errNoMatch = errors.New("no such interface")

// Find chooses the interface.
func Find(q Query, log *slog.Logger) (Interface, error) {
	t, err := read()
	if err != nil {
		return Interface{}, fmt.Errorf("list network interfaces: %w", err)
	}
	i, err := t.pick(q, log)
	if err != nil {
		return Interface{}, fmt.Errorf("find external interface: %w; there are: %s", err, t.candidates())
	}
	log.Info(fmt.Sprintf("Using interface with name %s and address %s", i.Name, i.V4))
	return i, nil
}

func (t *table) pick(q Query, log *slog.Logger) (Interface, error) {
	for _, expr := range q.Regexps {
		if _, err := regexp.Compile(expr); err != nil {
			return Interface{}, fmt.Errorf("--iface-regex %q: %w", expr, err)
		}
	}
	if len(q.Names) == 0 && len(q.Regexps) == 0 && !q.CanReach.IsValid() {
		return t.byDefault(q, log)
	}
	for _, name := range q.Names {
		i, err := t.byName(name, q.V6)
		if err == nil {
			return i, nil
		}
		log.Info("Could not find valid interface matching "+name, "err", err)
	}
	for _, expr := range q.Regexps {
		i, err := t.byRegexp(regexp.MustCompile(expr), q.V6)
		if err == nil {
			return i, nil
		}
		log.Info("Could not find valid interface matching "+expr, "err", err)
	}
	if q.CanReach.IsValid() {
		i, err := t.byReach(q.CanReach, q.V6)
		if err == nil {
			return i, nil
		}
		log.Info("Could not find valid interface reaching "+q.CanReach.String(), "err", err)
	}
	return Interface{}, fmt.Errorf("%w: none matches what --iface, --iface-regex or --iface-can-reach ask for", errNoMatch)
}

func (t *table) byDefault(q Query, log *slog.Logger) (Interface, error) {
	if q.PublicV4.IsValid() {
		log.Info("Searching for interface using " + q.PublicV4.String())
		i, err := t.byName(q.PublicV4.String(), q.V6)
		if errors.Is(err, errNoMatch) {
			err = fmt.Errorf("%w; if that is an address behind which this host is translated, name its interface with --iface", err)
		}
		return i, err
	}
	log.Info("Determining IP address of default interface")
	index, err := t.defaultRoute(false)
	if err != nil {
		return Interface{}, err
	}
	if q.V6 {
		six, err := t.defaultRoute(true)
		if err != nil {
			return Interface{}, err
		}
		if six != index {
			return Interface{}, errors.New("the IPv4 and the IPv6 default route leave by different interfaces; choose one with --iface")
		}
	}
	for _, i := range t.ifaces {
		if i.Index == index {
			return i.use(netip.Addr{}, q.V6)
		}
	}
	return Interface{}, fmt.Errorf("%w: the default route's", errNoMatch)
}

// byName finds an interface by its name or by an address that it has.
func (t *table) byName(name string, v6 bool) (Interface, error) {
	ip, err := netip.ParseAddr(name)
	for _, i := range t.ifaces {
		if err == nil && slices.Contains(i.addrs, ip) {
			return i.use(ip, v6)
		}
		if err != nil && i.Name == name {
			return i.use(netip.Addr{}, v6)
		}
	}
	if err == nil {
		return Interface{}, fmt.Errorf("%w: none has the address %s", errNoMatch, ip)
	}
	return Interface{}, fmt.Errorf("%w: %s", errNoMatch, name)
}

func (t *table) byRegexp(expr *regexp.Regexp, v6 bool) (Interface, error) {
	for _, i := range t.ifaces {
		for _, a := range i.addrs {
			if !i.loopback && a.Is4() && expr.MatchString(a.String()) {
				return i.use(a, v6)
			}
		}
	}
	for _, i := range t.ifaces {
		if !i.loopback && expr.MatchString(i.Name) {
			return i.use(netip.Addr{}, v6)
		}
	}
	return Interface{}, fmt.Errorf("%w: no address and no name matches %s", errNoMatch, expr)
}

func (t *table) byReach(target netip.Addr, v6 bool) (Interface, error) {
	index, source, err := t.reach(target)
	if err != nil {
		return Interface{}, fmt.Errorf("look up the route to %s: %w", target, err)
	}
	for _, i := range t.ifaces {
		if i.Index == index {
			return i.use(source, v6)
		}
	}
	return Interface{}, fmt.Errorf("%w: number %d", errNoMatch, index)
}

// use checks that a tunnel can run over the interface. A valid ip is the
// address to use of its family.
func (i iface) use(ip netip.Addr, v6 bool) (Interface, error) {
	found := i.Interface
	for _, a := range i.addrs {
		switch {
		case a.Is4() && !found.V4.IsValid():
			found.V4 = a
		case a.Is6() && !found.V6.IsValid():
			found.V6 = a
		}
	}
	if ip.Is4() {
		found.V4 = ip
	} else if ip.Is6() {
		found.V6 = ip
	}
	switch {
	case i.loopback:
		return found, fmt.Errorf("%s is a loopback interface", i.Name)
	case !found.V4.IsValid():
		return found, fmt.Errorf("interface %s has no IPv4 address", i.Name)
	case v6 && !found.V6.IsValid():
		return found, fmt.Errorf("interface %s has no IPv6 address", i.Name)
	case i.MTU == 0:
		return found, fmt.Errorf("interface %s has an MTU of 0", i.Name)
	}
	if !v6 {
		found.V6 = netip.Addr{}
	}
	return found, nil
}

func (t *table) candidates() string {
	var all []string
	for _, i := range t.ifaces {
		if i.loopback {
			continue
		}
		var addrs []string
		for _, a := range i.addrs {
			addrs = append(addrs, a.String())
		}
		all = append(all, fmt.Sprintf("%s (%s, mtu %d)", i.Name, strings.Join(addrs, " "), i.MTU))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// rank orders addresses: global before link-local; loopback and the rest never.
func rank(ip net.IP) int {
	switch {
	case ip.IsGlobalUnicast():
		return 1
	case ip.IsLinkLocalUnicast():
		return 2
	}
	return 0
}
