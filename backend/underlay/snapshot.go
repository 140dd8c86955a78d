package underlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"flanneld/backend"
)

// snapshot is what the kernel has, as far as a choice depends on it.
type snapshot struct {
	links                []link         // in the kernel's order
	defaults4, defaults6 []defaultRoute // likewise

	// reach returns the interface and the source address that the kernel would
	// send from; the address is zero if it names none.
	reach func(target netip.Addr) (index int, source netip.Addr, err error)
}

// own returns the public address if this host has it, and otherwise the other one.
func (s *snapshot) own(public, other netip.Addr) netip.Addr {
	if public.IsValid() && slices.ContainsFunc(s.links, func(l link) bool { return !l.excluded && l.hasAll([]netip.Addr{public}) }) {
		return plain(public)
	}
	return other
}

type link struct {
	name     string
	altNames []string
	index    int
	mtu      int // bytes
	loopback bool
	excluded bool
	addrs    []addr // best first
}

type addr struct {
	ip         netip.Addr
	rank       int  // lower the better others can rely on the address
	deprecated bool // usable when asked for, not to be chosen
}

// defaultRoute is a default route of the main table.
type defaultRoute struct {
	metric int
	index  int // of its interface; 0: it has several

	source netip.Addr // that it names; zero: none
}

func (s *snapshot) nameOf(index int) string {
	if i := slices.IndexFunc(s.links, func(l link) bool { return l.index == index }); i >= 0 {
		return s.links[i].name
	}
	return fmt.Sprintf("interface %d", index)
}

// candidates lists the interfaces that can be asked for. Those without an IPv4
// address are left out: on a host of containers that is one per container.
func (s *snapshot) candidates() string {
	var all []string
	for _, l := range s.links {
		if l.loopback || l.excluded || !l.first(netip.Addr.Is4).IsValid() {
			continue
		}
		var ips []netip.Addr
		for _, a := range l.addrs {
			ips = append(ips, a.ip)
		}
		all = append(all, fmt.Sprintf("%s: %s, MTU %d", l.name, join(ips, " "), l.mtu))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, "; ")
}

// hasAll reports whether the interface has every address; a deprecated one
// counts, since it was asked for.
func (l link) hasAll(ips []netip.Addr) bool {
	for _, ip := range ips {
		if zone := ip.Zone(); zone != "" && zone != l.name {
			return false
		}
		want := plain(ip)
		if !slices.ContainsFunc(l.addrs, func(a addr) bool { return a.ip == want }) {
			return false
		}
	}
	return true
}

// first returns the best address that the test holds for, or the zero Addr.
func (l link) first(test func(netip.Addr) bool) netip.Addr {
	for _, a := range l.addrs {
		if !a.deprecated && test(a.ip) {
			return a.ip
		}
	}
	return netip.Addr{}
}

// use returns the interface with the given addresses, of which some may be zero, and its
// best one for a family of which none is given, or an error that says why others could not
// reach this host by it.
func (l link) use(v6 bool, given ...netip.Addr) (backend.Underlay, error) {
	found := backend.Underlay{Name: l.name, Index: l.index, MTU: l.mtu}
	found.V4, found.V6 = l.first(netip.Addr.Is4), l.first(netip.Addr.Is6)
	for _, ip := range given {
		switch ip = plain(ip); {
		case ip.Is4():
			found.V4 = ip
		case ip.Is6():
			found.V6 = ip
		}
	}
	if !v6 {
		found.V6 = netip.Addr{}
	}
	switch {
	case l.loopback:
		return backend.Underlay{}, fmt.Errorf("%s is a loopback interface", l.name)
	case l.excluded:
		return backend.Underlay{}, fmt.Errorf("interface %s is one that lies on top of the one to choose", l.name)
	case !found.V4.IsValid():
		return backend.Underlay{}, fmt.Errorf("interface %s has no IPv4 address", l.name)
	case v6 && !found.V6.IsValid():
		return backend.Underlay{}, fmt.Errorf("interface %s has no IPv6 address", l.name)
	case l.mtu == 0:
		return backend.Underlay{}, fmt.Errorf("interface %s has an MTU of 0", l.name)
	}
	return found, nil
}

func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func join(ips []netip.Addr, sep string) string {
	var all []string
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return strings.Join(all, sep)
}
