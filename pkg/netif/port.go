package netif

import (
	"net"

	"github.com/vishvananda/netlink"
)

// TunnelAt names a link of this network namespace that receives a tunnel's packets at
// the UDP port, or returns "". The kernel itself has such a port, so ss and /proc name
// no process for it.
func TunnelAt(port int) string {
	links, _ := Dump(netlink.LinkList) // without one the port's holder stays unknown
	for _, link := range links {
		at := 0
		switch l := link.(type) {
		case *netlink.Vxlan:
			at = l.Port
		case *netlink.Geneve:
			at = int(l.Dport)
		case *netlink.BareUDP:
			at = int(l.Port)
		}
		if at == port && link.Attrs().Flags&net.FlagUp != 0 { // a link that is down has none
			return link.Attrs().Name
		}
	}
	return ""
}
