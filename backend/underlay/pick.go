package underlay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"

	"flanneld/backend"
)

// search looks for the interface in what the kernel has. It asks the kernel nothing but
// snapshot.reach.
type search struct {
	*snapshot
	v6  bool // as in Query
	log *slog.Logger
}

// pick tries what the query selects, in its order, and logs what it tried in vain, since
// another try may succeed.
func pick(s *snapshot, q Query, exprs []*regexp.Regexp, log *slog.Logger) (backend.Underlay, error) {
	c := search{s, q.V6, log}
	type try struct {
		what string
		find func() (backend.Underlay, error)
	}
	var tries []try
	for _, name := range q.Names {
		tries = append(tries, try{"matching " + name, func() (backend.Underlay, error) { return c.byName(name) }})
	}
	for _, expr := range exprs {
		tries = append(tries, try{"matching " + expr.String(), func() (backend.Underlay, error) { return c.byRegexp(expr) }})
	}
	if q.CanReach.IsValid() {
		tries = append(tries, try{"to reach " + q.CanReach.String(), func() (backend.Underlay, error) { return c.byReach(q.CanReach) }})
	}
	switch {
	case len(tries) > 0:
	case q.PublicIP.IsValid() || q.V6 && q.PublicIPv6.IsValid():
		return c.byPublic(q)
	default:
		return c.byDefault()
	}
	for _, t := range tries {
		found, err := t.find()
		if err == nil {
			return found, nil
		}
		log.Info("Could not find valid interface "+t.what, "err", err)
	}
	return backend.Underlay{}, fmt.Errorf("%w for --iface, --iface-regex or --iface-can-reach", errNoMatch)
}

// firstOf returns the first interface that matches and by which others can reach this
// host, with the addresses that the match gives. Without any it returns why the last one
// is of no use, or failed if none matches.
func (c search) firstOf(failed error, match func(link) (given []netip.Addr, ok bool)) (backend.Underlay, error) {
	for _, l := range c.links {
		given, ok := match(l)
		if !ok {
			continue
		}
		found, err := l.use(c.v6, given...)
		if err == nil {
			return found, nil
		}
		failed = err
	}
	return backend.Underlay{}, failed
}

// byName finds an interface by one of its names or by an address that it has,
// which is then the one to use.
func (c search) byName(name string) (backend.Underlay, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		c.log.Info("Searching for interface using " + name)
		return c.byAddr(ip)
	}
	return c.firstOf(fmt.Errorf("%w: %s does not exist", errNoMatch, name), func(l link) ([]netip.Addr, bool) {
		return nil, l.name == name || slices.Contains(l.altNames, name)
	})
}

// byAddr finds the interface that has all of the addresses: a load balancer's can be on
// lo and on a real interface. A zone must be its name: many interfaces can have the same
// link-local address.
func (c search) byAddr(ips ...netip.Addr) (backend.Underlay, error) {
	return c.firstOf(fmt.Errorf("%w: none has %s", errNoMatch, join(ips, " and ")), func(l link) ([]netip.Addr, bool) {
		return ips, l.hasAll(ips)
	})
}

// byRegexp looks for an address that matches, then for a name. In the first pass a
// matching address of each family is needed.
func (c search) byRegexp(expr *regexp.Regexp) (backend.Underlay, error) {
	found, err := c.firstOf(fmt.Errorf("%w: no address and no name matches", errNoMatch), func(l link) ([]netip.Addr, bool) {
		four := l.first(func(ip netip.Addr) bool { return ip.Is4() && expr.MatchString(ip.String()) })
		six := l.first(func(ip netip.Addr) bool { return ip.Is6() && expr.MatchString(ip.String()) })
		return []netip.Addr{four, six}, four.IsValid() && (six.IsValid() || !c.v6)
	})
	if err == nil {
		return found, nil
	}
	return c.firstOf(err, func(l link) ([]netip.Addr, bool) { return nil, expr.MatchString(l.name) })
}

// byReach finds the interface from which the kernel would send to target, and
// uses the source address that it would choose.
func (c search) byReach(target netip.Addr) (backend.Underlay, error) {
	index, source, err := c.reach(target)
	if err != nil {
		return backend.Underlay{}, fmt.Errorf("look up route to %s: %w", target, err)
	}
	return c.byIndex("the route to "+target.String(), index, source)
}

func (c search) byIndex(route string, index int, given ...netip.Addr) (backend.Underlay, error) {
	return c.firstOf(fmt.Errorf("%w: %s leaves by interface %d", errNoMatch, route, index), func(l link) ([]netip.Addr, bool) {
		return given, l.index == index
	})
}

// byPublic finds the interface that has the public addresses.
func (c search) byPublic(q Query) (backend.Underlay, error) {
	var public []netip.Addr
	if q.PublicIP.IsValid() {
		public = append(public, q.PublicIP)
	}
	if q.V6 && q.PublicIPv6.IsValid() {
		public = append(public, q.PublicIPv6)
	}
	c.log.Info("Searching for interface using " + join(public, " and "))
	found, err := c.byAddr(public...)
	if err != nil && slices.ContainsFunc(c.links, func(l link) bool { return l.loopback && l.hasAll(public[:1]) }) {
		return c.byDefault() // a router leads to it, and packets are sent from it
	}
	if errors.Is(err, errNoMatch) {
		// The usual case is a cloud instance's outside address, which a
		// gateway translates.
		err = fmt.Errorf("%w; a public address that is translated on its way says nothing about the interface: give --iface too", err)
	}
	return found, err
}

// byDefault finds the interface of the default route.
func (c search) byDefault() (backend.Underlay, error) {
	c.log.Info("Determining IP address of default interface")
	index, err := leaves(c.defaults4)
	if err != nil {
		return backend.Underlay{}, err
	}
	if c.v6 {
		six, err := leaves(c.defaults6)
		switch {
		case err != nil:
			return backend.Underlay{}, fmt.Errorf("choose for IPv6: %w", err)
		case six != index:
			return backend.Underlay{}, fmt.Errorf("%w: the IPv4 default route leaves by %s, the IPv6 one by %s; choose one with --iface",
				errNoMatch, c.nameOf(index), c.nameOf(six))
		}
	}
	return c.byIndex("the default route", index)
}

// leaves returns the index of the interface of the default route that the
// kernel prefers: the first with the lowest metric.
func leaves(routes []defaultRoute) (int, error) {
	if len(routes) == 0 {
		return 0, fmt.Errorf("%w: unable to find default route; choose an interface with --iface", errNoMatch)
	}
	best := slices.MinFunc(routes, func(a, b defaultRoute) int { return cmp.Compare(a.metric, b.metric) })
	if best.index == 0 {
		return 0, fmt.Errorf("%w: found default route but could not determine interface: it leaves by several; choose one with --iface", errNoMatch)
	}
	return best.index, nil
}
