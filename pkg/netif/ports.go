package netif

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Ports returns the MTU, in bytes, of each port of a bridge, by name; nil if there is no
// interface of that name. It asks the kernel and not /sys, which in a container can be
// another network's.
func Ports(bridge string) (map[string]int, error) {
	master, err := netlink.LinkByName(bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", bridge, err)
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list ports of %s: %w", bridge, err)
	}
	ports := make(map[string]int)
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex == master.Attrs().Index {
			ports[a.Name] = a.MTU
		}
	}
	return ports, nil
}
