// Package host is what the daemon shares this host with: what Docker is told, what of
// Docker and of the kernel must be right though it is not ours, and other daemons of our
// kind. It decides what is wrong and what an operator can do about it. It changes nothing
// but the subnet file, and does not know how packets get to peers.
package host

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"flanneld/pkg/envfile"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

// SubnetEnv is what the subnet file said when the daemon started: what the last run on
// this host had. A zero prefix is one that it did not say.
type SubnetEnv struct {
	Network, Subnet     netip.Prefix
	NetworkV6, SubnetV6 netip.Prefix
}

// ReadSubnetEnv reads the file. Whatever else is written in it is passed over.
func ReadSubnetEnv(path string, log *slog.Logger) SubnetEnv {
	vars, err := envfile.Read(path)
	if err != nil {
		log.Warn("Cannot read the subnet file of the last run; the subnet may change", "err", err)
		return SubnetEnv{}
	}
	prefix := func(name string) netip.Prefix {
		p, err := netip.ParsePrefix(vars[name])
		if err != nil && vars[name] != "" {
			log.Warn("Ignoring a variable of the subnet file", "file", path, name, vars[name], "err", err)
		}
		return p.Masked()
	}
	return SubnetEnv{
		Network: prefix("FLANNEL_NETWORK"), Subnet: prefix("FLANNEL_SUBNET"),
		NetworkV6: prefix("FLANNEL_IPV6_NETWORK"), SubnetV6: prefix("FLANNEL_IPV6_SUBNET"),
	}
}

// Key returns the key of the lease that the last run had.
func (e SubnetEnv) Key() subnet.Key { return subnet.Key{V4: e.Subnet, V6: e.SubnetV6} }

// String returns the IPv4 subnet, or "None".
func (e SubnetEnv) String() string {
	if !e.Subnet.IsValid() {
		return "None"
	}
	return e.Subnet.String()
}

// widest is the length of the largest network of an earlier run in which our routes are
// looked for: a damaged file must not make us look everywhere.
const widest = 8

// Networks returns those in which routes with our mark are ours: the present ones, if
// valid, and those of the last run.
func (e SubnetEnv) Networks(present ...netip.Prefix) []netip.Prefix {
	all := slices.DeleteFunc(slices.Clone(present), func(p netip.Prefix) bool { return !p.IsValid() })
	for _, p := range []netip.Prefix{e.Network, e.NetworkV6} {
		if p.IsValid() && p.Bits() >= widest {
			all = append(all, p)
		}
	}
	return all
}

// Leftovers names the VXLAN devices that an original daemon left: one of its names, with
// the address that only the host of the previous subnet has. Ours are known by their
// alias.
func (e SubnetEnv) Leftovers(log *slog.Logger) []string {
	all, err := net.Interfaces()
	if err != nil {
		log.Warn("Cannot look for left-over devices", "err", err)
	}
	var names []string
	for _, i := range all {
		for prefix, own := range map[string]netip.Prefix{"flannel.": e.Subnet, "flannel-v6.": e.SubnetV6} {
			if !strings.HasPrefix(i.Name, prefix) {
				continue
			}
			has := func(p netip.Prefix) bool { return p.Addr() == own.Addr() }
			if addrs, err := netif.Prefixes(i.Name); err == nil && slices.ContainsFunc(addrs, has) {
				names = append(names, i.Name)
			}
		}
	}
	return names
}
