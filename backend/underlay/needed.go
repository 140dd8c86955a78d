package underlay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"flanneld/backend"
	"flanneld/pkg/netif"
)

// resolvers are the files that name this host's DNS servers. The first may name only the
// stub of systemd-resolved, the second has the servers behind it.
var resolvers = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// anywhere are addresses that nothing but a default route leads to.
var anywhere = []netip.Addr{netip.AddrFrom4([4]byte{9, 9, 9, 9}), netip.MustParseAddr("2620:fe::9")}

// Needed returns what within the networks this host reaches without the overlay, as it
// is now: the subnets of its interfaces but the overlays' own, the default gateways, its
// DNS servers and the addresses of etcd. The subnet of an interface that holds a whole
// network is left out, but for the host's own address: not a lease overlaps it, but the
// configuration, and all leases do.
func Needed(networks []netip.Prefix, etcd []netip.Addr) ([]backend.Needed, error) {
	n := needed{networks: networks}
	if err := n.interfaces(); err != nil {
		return nil, err
	}
	for _, g := range Gateways() {
		n.add(netip.PrefixFrom(g, g.BitLen()), "the default gateway")
	}
	for _, file := range resolvers {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find DNS servers: %w", err)
		}
		for _, a := range nameservers(f) {
			n.add(netip.PrefixFrom(a, a.BitLen()), "a DNS server")
		}
		_ = f.Close()
	}
	for _, a := range etcd {
		n.add(netip.PrefixFrom(a, a.BitLen()), "etcd's address")
	}
	return n.all, nil
}

// Gateways returns the default gateways, if there are any.
func Gateways() (all []netip.Addr) {
	for _, far := range anywhere {
		// Without a default route there is an error. A dump of all routes takes as long as
		// a pass does.
		if routes, err := netlink.RouteGet(far.AsSlice()); err == nil && len(routes) > 0 && routes[0].Gw != nil {
			all = append(all, single(routes[0].Gw).Addr())
		}
	}
	return all
}

type needed struct {
	networks []netip.Prefix // zero: none
	all      []backend.Needed
}

// add takes what overlaps a network; of a zero prefix nothing does.
func (n *needed) add(p netip.Prefix, what string) {
	if slices.ContainsFunc(n.networks, p.Overlaps) {
		n.all = append(n.all, backend.Needed{Prefix: p, What: what})
	}
}

// interfaces adds those that have an address in a network.
func (n *needed) interfaces() error {
	addrs, err := netif.Addrs(func(p netip.Prefix) bool { return slices.ContainsFunc(n.networks, p.Overlaps) })
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if isOverlay(a.Interface, a.Alias) {
			continue
		}
		p := a.Masked()
		if slices.ContainsFunc(n.networks, func(network netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Overlaps(network) }) {
			p = netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
		}
		n.add(p, "the subnet of "+a.Interface)
	}
	return nil
}

// single returns the prefix of one address, the zero Prefix if there is none.
func single(ip net.IP) netip.Prefix {
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

// nameservers returns the addresses of a resolv.conf(5).
func nameservers(file io.Reader) (all []netip.Addr) {
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				all = append(all, plain(a))
			}
		}
	}
	return all
}
