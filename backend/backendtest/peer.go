package backendtest

import (
	"fmt"
	"net/netip"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

var (
	network4 = netip.MustParsePrefix("10.5.0.0/16")
	network6 = netip.MustParsePrefix("fd00:5::/48")
)

// MAC returns host n's.
func MAC(n byte) datapath.MAC { return datapath.MAC{0x0a, 0, 0, 0, 0, n} }

// MAC6 returns that of host n's IPv6 tunnel.
func MAC6(n byte) datapath.MAC { return datapath.MAC{0x0a, 0, 0, 0, 6, n} }

// Peer returns the IPv4 claim of host n, which is at 192.0.2.n and has
// 10.5.n.0/24. The host under test is number 1.
func Peer(n byte) subnet.Claim {
	return subnet.Claim{
		Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, n, 0}), 24),
		PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, n}),
		Data:     fmt.Sprintf(`{"VNI":1,"VtepMAC":"%s"}`, MAC(n)),
	}
}

// Peer6 returns the IPv6 claim of host n, which is at 2001:db8::n and has
// fd00:5:0:n::/64.
func Peer6(n byte) subnet.Claim {
	return subnet.Claim{
		Subnet:   netip.MustParsePrefix(fmt.Sprintf("fd00:5:0:%x::/64", n)),
		PublicIP: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n)),
		Data:     fmt.Sprintf(`{"VNI":1,"VtepMAC":"%s"}`, MAC6(n)),
	}
}

// At returns the claim as that of a host with another address.
func At(c subnet.Claim, publicIP string) subnet.Claim {
	c.PublicIP = netip.MustParseAddr(publicIP)
	return c
}

// IPv4 returns the planes of an IPv4 network.
func IPv4(peers ...subnet.Claim) []backend.Plane {
	return []backend.Plane{{Network: network4, Subnet: Peer(1).Subnet, Peers: peers}}
}

// DualStack returns the planes of both families with hosts n as peers.
func DualStack(n ...byte) []backend.Plane {
	planes := append(IPv4(), backend.Plane{Network: network6, Subnet: Peer6(1).Subnet})
	for _, n := range n {
		planes[0].Peers = append(planes[0].Peers, Peer(n))
		planes[1].Peers = append(planes[1].Peers, Peer6(n))
	}
	return planes
}

// Blackhole returns the planes with a blackhole for this host's part.
func Blackhole(planes []backend.Plane) []backend.Plane {
	for i := range planes {
		planes[i].Blackhole = true
	}
	return planes
}
