package main

import (
	"log/slog"
	"net/netip"

	"flanneld/backend"
	"flanneld/backend/firewall"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/pkg/netif"
	"flanneld/subnet/config"
)

// filter says who may send to this host.
func filter(o options.Daemon) backend.Filter {
	return backend.Filter{Off: !o.PeerFilter, Allow: o.PeerAllow}
}

// newFirewall returns the firewall for packets that come in by the named interface.
func newFirewall(o options.Daemon, cfg config.Config, underlay string, networks []netip.Prefix, previous host.SubnetEnv, log *slog.Logger) *firewall.Firewall {
	p := firewall.Policy{
		Filter:     filter(o),
		Masquerade: o.IPMasq, PlainPorts: o.MasqPlainPorts, Forward: o.ForwardRules, Docker: o.DockerFirewall, NFTables: cfg.NFTables,
		Networks: networks, Previous: []netip.Prefix{previous.Subnet, previous.SubnetV6}, Resync: o.FirewallResync,
	}
	if o.Etcd.Prefix != options.DefaultPrefix {
		p.Prefix = o.Etcd.Prefix
	}
	f := firewall.New(p, underlay, log)
	if err := netif.CheckPrivilege("flanneld"); err != nil { // alloc gets so far without it
		f.Disable(err)
	}
	return f
}
