package underlay

import (
	"log/slog"
	"net/netip"

	"flanneld/pkg/netif"
)

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
