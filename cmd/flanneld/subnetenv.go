package main

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"flanneld/pkg/envfile"
	"flanneld/pkg/netif"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// subnetEnv is what subnet.env said when the daemon started: what the last run
// on this host had. A zero prefix is one that it did not say.
type subnetEnv struct {
	network, subnet     netip.Prefix
	networkV6, subnetV6 netip.Prefix
}

// readSubnetEnv reads the file; whatever else is written in it is passed over.
func readSubnetEnv(path string, log *slog.Logger) subnetEnv {
	vars, err := envfile.Read(path)
	if err != nil {
		log.Warn("Cannot read the subnet file of the last run; the subnet may change", "err", err)
		return subnetEnv{}
	}
	prefix := func(name string) netip.Prefix {
		p, err := netip.ParsePrefix(vars[name])
		if err != nil && vars[name] != "" {
			log.Warn("Ignoring a variable of the subnet file", "file", path, name, vars[name], "err", err)
		}
		return p.Masked()
	}
	return subnetEnv{
		network: prefix("FLANNEL_NETWORK"), subnet: prefix("FLANNEL_SUBNET"),
		networkV6: prefix("FLANNEL_IPV6_NETWORK"), subnetV6: prefix("FLANNEL_IPV6_SUBNET"),
	}
}

func (e subnetEnv) key() subnet.Key { return subnet.Key{V4: e.subnet, V6: e.subnetV6} }

func (e subnetEnv) subnetOrNone() string {
	if !e.subnet.IsValid() {
		return "None"
	}
	return e.subnet.String()
}

// writeSubnetEnv tells Docker which subnet is this host's.
func (d *daemon) writeSubnetEnv(l subnet.Lease, mtu int) error {
	written, err := envfile.WriteIfChanged(d.opts.SubnetFile, subnetEnvText(d.cfg, l, mtu, d.opts.IPMasq))
	if err != nil {
		return fmt.Errorf("Failed to write subnet file: %w (give another one with --subnet-file)", err)
	}
	if written {
		d.log.Info("Wrote subnet file to " + d.opts.SubnetFile)
	} else {
		d.log.Info("The subnet file " + d.opts.SubnetFile + " is up to date")
	}
	return nil
}

// subnetEnvText returns the file's content. FLANNEL_IPMASQ tells Docker not to
// masquerade because we do.
func subnetEnvText(cfg config.Config, l subnet.Lease, mtu int, masquerade bool) []byte {
	var b strings.Builder
	line := func(family string, network, subnet netip.Prefix) {
		first := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
		fmt.Fprintf(&b, "FLANNEL_%sNETWORK=%s\nFLANNEL_%sSUBNET=%s\n", family, network, family, first)
	}
	line("", cfg.V4.Network, l.V4.Subnet)
	if cfg.V6.Enabled() {
		line("IPV6_", cfg.V6.Network, l.V6.Subnet)
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", mtu, masquerade)
	return []byte(b.String())
}

// widest is the largest network of an earlier run in which our routes are
// looked for: a damaged file must not make us look everywhere.
const widest = 8

// networks are those in which routes with our mark are ours: the present one,
// and that of the last run.
func networks(cfg config.Config, previous subnetEnv) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []netip.Prefix{cfg.V4.Network, cfg.V6.Network} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	for _, p := range []netip.Prefix{previous.network, previous.networkV6} {
		if p.IsValid() && p.Bits() >= widest {
			all = append(all, p)
		}
	}
	return all
}

// leftovers names the VXLAN devices that an original daemon left: one of its
// names, with the address that only the host of the previous subnet has. Ours
// are known by their alias.
func leftovers(previous subnetEnv, log *slog.Logger) []string {
	own := map[string]netip.Prefix{"flannel.": previous.subnet, "flannel-v6.": previous.subnetV6}
	maps.DeleteFunc(own, func(_ string, p netip.Prefix) bool { return !p.IsValid() })
	if len(own) == 0 {
		return nil
	}
	all, err := net.Interfaces()
	if err != nil {
		log.Warn("Cannot look for left-over devices", "err", err)
		return nil
	}
	var names []string
	for _, i := range all {
		for name, subnet := range own {
			if !strings.HasPrefix(i.Name, name) {
				continue
			}
			has := func(p netip.Prefix) bool { return p.Addr() == subnet.Addr() }
			if addrs, err := netif.Prefixes(i.Name); err == nil && slices.ContainsFunc(addrs, has) {
				names = append(names, i.Name)
			}
		}
	}
	return names
}
