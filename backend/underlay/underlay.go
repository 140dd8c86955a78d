// Package underlay finds the external interface, over which peers reach this host,
// and notices when it changes. It decides by what the operator asked for and what the
// kernel has, and knows nothing of leases or of what a backend does with the interface.
package underlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
	"flanneld/pkg/netif"
)

// Query says which interface is wanted: the first that one of Names, then one
// of Regexps, then CanReach selects. Without any of the three it is the
// interface that has the public address, if one is set, else the one of the
// default route. The zero Query asks for the default route's.
//
// An IPv4 address is always needed. Peers are told the public addresses; one that is zero
// is the interface's own. One that this host has, on whatever interface, takes the place of
// the interface's own: packets must come from where peers send to.
type Query struct {
	Names                []string   // interface names or addresses, tried in order
	Regexps              []string   // matched anywhere in an address, then anywhere in a name
	CanReach             netip.Addr // the interface that the kernel uses to reach it; zero: not asked for
	PublicIP, PublicIPv6 netip.Addr // zero: not known; PublicIPv6 counts with V6 only
	V6                   bool       // an IPv6 address on the same interface is needed, too
}

// AliasPrefix begins the alias of the devices of every flanneld; the etcd prefix follows.
const AliasPrefix = "flanneld "

var overlayName = regexp.MustCompile(`^flannel(\.|-v6\.|[0-9]+$)`)

// isOverlay reports whether an interface is an overlay's, this daemon's or another's,
// which is never chosen: a packet into the overlay would go out by the overlay, and so on.
func isOverlay(name, alias string) bool {
	return strings.HasPrefix(alias, AliasPrefix) || overlayName.MatchString(name)
}

var errNoMatch = errors.New("no matching interface")

// Find chooses the external interface and the addresses to publish. A bad regular
// expression is an error before anything else is looked at. When no interface is chosen,
// the error lists those that could be asked for.
func Find(q Query, log *slog.Logger) (backend.Underlay, error) {
	u, err := find(q, log)
	if err != nil {
		return backend.Underlay{}, err
	}
	u.PublicV4 = published(q.PublicIP, u.V4, log)
	if u.PublicV4 != u.V4 {
		log.Info("The external address is not an address of this host, and other hosts refuse packets from any other. "+
			"Unless NAT gives packets that source, start those hosts with --peer-allow", "source", u.V4)
	}
	if q.V6 {
		u.PublicV6 = published(q.PublicIPv6, u.V6, log)
	}
	return u, nil
}

// again is the time between two looks for IPv6. The kernel would tell, but not of a route in
// a table that a rule leads to.
const again = time.Second

// Await is Find for a host that may get its IPv6 addresses and routes later than the others:
// what routers announce comes after the network is said to be up. As long as nothing else is
// missing it waits, and calls waits with the reason, once.
func Await(ctx context.Context, q Query, waits func(reason string), log *slog.Logger) (backend.Underlay, error) {
	quiet := slog.New(slog.DiscardHandler)
	said := false
	for lack := lacksIPv6(q, quiet); lack != nil; lack = lacksIPv6(q, quiet) {
		if !said {
			said = true
			log.Warn("Waiting for IPv6, which the network configuration asks for with EnableIPv6", "err", lack,
				"hint", "give the external interface an IPv6 address and a default route, or choose one that has both with --iface; without IPv6, set EnableIPv6 to false and restart flanneld")
			waits("EnableIPv6 is set, and this host has no IPv6 that can be used yet")
		}
		if err := backoff.Sleep(ctx, again); err != nil {
			return backend.Underlay{}, err
		}
	}
	return Find(q, log)
}

// lacksIPv6 returns why the query has no answer if that is for IPv6 alone.
func lacksIPv6(q Query, log *slog.Logger) error {
	_, lack := find(q, log)
	if !q.V6 || lack == nil {
		return nil
	}
	q.V6 = false
	if _, err := find(q, log); err != nil {
		return nil
	}
	return lack
}

// Preview logs which interface would be the external one, for an operator who looks
// why a daemon waits for its configuration. Only that says whether IPv6 is needed, and
// the host may have another address by then.
func Preview(q Query, log *slog.Logger) {
	q.V6 = false
	u, err := find(q, log)
	if err != nil {
		log.Warn("There is no external interface yet", "err", err)
		return
	}
	published(q.PublicIP, u.V4, log)
}

func published(asked, own netip.Addr, log *slog.Logger) netip.Addr {
	endpoint := func(a netip.Addr) { log.Info(fmt.Sprintf("Using %s as external endpoint", a)) } // in the words of release 0.5.5
	if asked.IsValid() {
		log.Info(fmt.Sprintf("Using %s as external address", asked))
		endpoint(asked)
		return asked
	}
	defer endpoint(own)
	log.Info(fmt.Sprintf("Defaulting external address to interface address (%s)", own))
	if own.Is4() && own.IsLinkLocalUnicast() {
		log.Warn("The external address is link-local, and other hosts do not accept it: give the interface another, or choose one with --iface", "address", own)
	}
	return own
}

// Local returns the subnets that the interface has addresses in, which can be no
// peer's. It warns of those within one of the networks, as these are not leased.
func Local(iface string, networks []netip.Prefix, log *slog.Logger) ([]netip.Prefix, error) {
	local, err := netif.Subnets(iface)
	if err != nil {
		return nil, err
	}
	for _, p := range local {
		for _, n := range networks {
			if n.IsValid() && n.Overlaps(p) {
				log.Warn("The Network overlaps a subnet that this host itself is in: containers cannot reach all of it, and what overlaps it is not leased",
					"network", n, "subnet", p, "interface", iface)
			}
		}
	}
	return local, nil
}

// find returns the interface without what is published.
func find(q Query, log *slog.Logger) (backend.Underlay, error) {
	var exprs []*regexp.Regexp
	for _, expr := range q.Regexps {
		re, err := regexp.Compile(expr)
		if err != nil {
			return backend.Underlay{}, fmt.Errorf("parse --iface-regex %q: %w", expr, err)
		}
		exprs = append(exprs, re)
	}
	s, err := gather(q.V6)
	if err != nil {
		return backend.Underlay{}, fmt.Errorf("list network interfaces: %w", err)
	}
	return choose(s, q, exprs, log)
}

func choose(s *snapshot, q Query, exprs []*regexp.Regexp, log *slog.Logger) (backend.Underlay, error) {
	found, err := pick(s, q, exprs, log)
	if err != nil {
		return backend.Underlay{}, fmt.Errorf("find external interface: %w; candidates are %s", err, s.candidates())
	}
	found.V4 = s.own(q.PublicIP, found.V4)
	attrs := []any{"mtu", found.MTU}
	if q.V6 {
		found.V6 = s.own(q.PublicIPv6, found.V6)
		attrs = append(attrs, "v6", found.V6)
	}
	log.Info(fmt.Sprintf("Using interface with name %s and address %s", found.Name, found.V4), attrs...)
	log.Info(fmt.Sprintf("Using %s as external interface", found.V4)) // in the words of release 0.5.5
	return found, nil
}
