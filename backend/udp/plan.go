package udp

import (
	"fmt"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/backend/udp/engine"
	"flanneld/pkg/datapath"
)

const (
	overhead   = 20 + 8         // bytes: IPv4, UDP
	maxPayload = 65535 - 20 - 8 // bytes, of a UDP datagram

	// maxDevices is the number of names that are tried.
	maxDevices = 100
)

func deviceName(n int) string { return fmt.Sprintf("flannel%d", n) }

// mtuOver returns the MTU of the device over an underlay, in bytes.
func mtuOver(underlay int) int { return min(underlay-overhead, maxPayload) }

// chooseDevice returns the name of the device: that of our TUN device, else the first
// free one. The links are those that are ours or have one of the names.
func chooseDevice(links []datapath.Link, owner string) (string, error) {
	free := ""
	for n := range maxDevices {
		name := deviceName(n)
		i := slices.IndexFunc(links, func(l datapath.Link) bool { return l.Name == name })
		switch {
		case i >= 0 && links[i].Kind == "tun" && links[i].Alias == owner:
			return name, nil
		case free == "" && (i < 0 || links[i].Alias == owner): // of another kind: re-made
			free = name
		}
	}
	if free == "" {
		return "", fmt.Errorf("no name is free for the device: %s to %s are there; delete one",
			deviceName(0), deviceName(maxDevices-1))
	}
	return free, nil
}

// plan returns the wanted state: the device, which has the subnet's first
// address, and one route to the whole network.
func plan(device datapath.Link, port uint16, protocol uint8, planes []backend.Plane) backend.Plan {
	ipv4, first := planes[0].Network, planes[0].Subnet.Addr() // the wire has no room for IPv6
	s := datapath.State{
		Links:  []datapath.Link{device},
		Addrs:  []datapath.Addr{{Link: device.Name, Prefix: netip.PrefixFrom(first, first.BitLen())}},
		Routes: append(backend.Blackholes(planes, protocol), datapath.Route{Dst: ipv4, Link: device.Name, Protocol: protocol}),
	}
	ingress := make([]backend.Ingress, len(planes))
	ingress[0].Device, ingress[0].Port = device.Name, port
	return backend.Plan{State: s, Ingress: ingress}
}

// stateOf returns what the engine has to know. All hosts use one port.
func stateOf(planes []backend.Plane, port uint16, mtu int, filter backend.Filter) engine.State {
	s := engine.State{Subnet: planes[0].Subnet, MTU: mtu, Open: filter.Off, Allow: filter.Allow}
	for _, peer := range planes[0].Peers {
		s.Peers = append(s.Peers, engine.Peer{Subnet: peer.Subnet, Endpoint: netip.AddrPortFrom(peer.PublicIP, port)})
	}
	return s
}
