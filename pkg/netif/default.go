package netif

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// byDefault chooses for an operator who named no interface.
func (s *snapshot) byDefault(q Query, log *slog.Logger) (Interface, error) {
	var public []netip.Addr
	if q.PublicIP.IsValid() {
		public = append(public, q.PublicIP)
	}
	if q.V6 && q.PublicIPv6.IsValid() {
		public = append(public, q.PublicIPv6)
	}
	if len(public) > 0 {
		log.Info("Searching for interface using " + join(public, " and "))
		found, err := s.byAddr(q.V6, public...)
		if errors.Is(err, ErrNoMatch) {
			// The usual case is a cloud instance's outside address, which a
			// gateway translates.
			err = fmt.Errorf("%w; a public address that is translated on its way says nothing about the interface: give --iface too", err)
		}
		return found, err
	}

	log.Info("Determining IP address of default interface")
	index, err := leaves(s.defaults4)
	if err != nil {
		return Interface{}, err
	}
	if q.V6 {
		six, err := leaves(s.defaults6)
		switch {
		case err != nil:
			return Interface{}, fmt.Errorf("choose for IPv6: %w", err)
		case six != index:
			return Interface{}, fmt.Errorf("%w: the IPv4 default route leaves by %s, the IPv6 one by %s; choose one with --iface",
				ErrNoMatch, s.nameOf(index), s.nameOf(six))
		}
	}
	l, ok := s.link(index)
	if !ok {
		return Interface{}, fmt.Errorf("%w: the default route leaves by interface %d", ErrNoMatch, index)
	}
	return l.use(q.V6)
}

// leaves returns the index of the interface of the default route that the
// kernel prefers: the first with the lowest metric.
func leaves(routes []defaultRoute) (int, error) {
	if len(routes) == 0 {
		return 0, fmt.Errorf("%w: unable to find default route; choose an interface with --iface", ErrNoMatch)
	}
	best := routes[0]
	for _, r := range routes[1:] {
		if r.metric < best.metric {
			best = r
		}
	}
	if best.index == 0 {
		return 0, fmt.Errorf("%w: found default route but could not determine interface: it leaves by several; choose one with --iface", ErrNoMatch)
	}
	return best.index, nil
}
