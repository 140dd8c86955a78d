// Package underlay finds the external interface, over which peers reach this host,
// and notices when it changes. It decides by what the operator asked for and what the
// kernel has, and knows nothing of leases or of what a backend does with the interface.
package underlay

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"

	"flanneld/backend"
	"flanneld/pkg/netif"
)

// Query says which interface is wanted, and which addresses peers are told: a public
// address that is zero is the interface's own. Exclude is set by this package.
type Query = netif.Query

// AliasPrefix begins the alias of the devices of every flanneld; the etcd prefix follows.
const AliasPrefix = "flanneld "

var overlayName = regexp.MustCompile(`^flannel(\.|-v6\.|[0-9]+$)`)

// isOverlay reports whether an interface is an overlay's, this daemon's or another's:
// a packet into the overlay would go out by the overlay, and so on.
func isOverlay(name, alias string) bool {
	return strings.HasPrefix(alias, AliasPrefix) || overlayName.MatchString(name)
}

// Find chooses the external interface and the addresses to publish. It returns
// netif.ErrNoMatch if no interface is what q asks for.
func Find(q Query, log *slog.Logger) (backend.Underlay, error) {
	q.Exclude = isOverlay
	i, err := netif.Find(q, log)
	if err != nil {
		return backend.Underlay{}, err
	}
	u := backend.Underlay{Name: i.Name, Index: i.Index, MTU: i.MTU, V4: i.V4, V6: i.V6,
		PublicV4: published(q.PublicIP, i.V4, log)}
	if q.V6 {
		u.PublicV6 = published(q.PublicIPv6, i.V6, log)
	}
	return u, nil
}

// Preview logs which interface would be the external one, for an operator who looks
// why a daemon waits for its configuration. Only that says whether IPv6 is needed, and
// the host may have another address by then.
func Preview(q Query, log *slog.Logger) {
	q.V6, q.Exclude = false, isOverlay
	if _, err := netif.Find(q, log); err != nil {
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
