package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"

	"flanneld/backend"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

var overlayName = regexp.MustCompile(`^flannel(\.|-v6\.|[0-9]+$)`)

// isOverlay reports whether an interface is this daemon's, or another's: a packet
// into the overlay would go out by the overlay, and so on.
func isOverlay(name, alias string) bool {
	return strings.HasPrefix(alias, aliasPrefix) || overlayName.MatchString(name)
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// findUnderlay chooses the external interface and the addresses to publish.
func findUnderlay(o options, cfg subnet.Config, log *slog.Logger) (backend.Underlay, error) {
	i, err := netif.Find(netif.Query{
		Names: o.Iface, Regexps: o.IfaceRegex, CanReach: o.IfaceCanReach,
		PublicIP: o.PublicIP, PublicIPv6: o.PublicIPv6, V6: cfg.V6.Enabled(), Exclude: isOverlay,
	}, log)
	if err != nil {
		return backend.Underlay{}, err
	}
	u := backend.Underlay{Name: i.Name, Index: i.Index, MTU: i.MTU, V4: i.V4, V6: i.V6,
		PublicV4: published(o.PublicIP, i.V4, log)}
	if cfg.V6.Enabled() {
		u.PublicV6 = published(o.PublicIPv6, i.V6, log)
	}
	return u, nil
}

// sayUnderlay says which interface would be the external one, to whoever looks why
// a daemon waits. It is chosen when the configuration is there, which can say that
// it needs an IPv6 address, and when the host may have another address.
func sayUnderlay(o options, log *slog.Logger) {
	if _, err := netif.Find(netif.Query{
		Names: o.Iface, Regexps: o.IfaceRegex, CanReach: o.IfaceCanReach, PublicIP: o.PublicIP, Exclude: isOverlay,
	}, log); err != nil {
		log.Warn("There is no external interface yet", "err", err)
	}
}

func published(asked, own netip.Addr, log *slog.Logger) netip.Addr {
	if asked.IsValid() {
		log.Info(fmt.Sprintf("Using %s as external address", asked))
		return asked
	}
	log.Info(fmt.Sprintf("Defaulting external address to interface address (%s)", own))
	return own
}
