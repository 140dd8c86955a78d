package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"flanneld/subnet"
)

// lookPublicIP looks for two leases with one PublicIP.
func lookPublicIP(ctx context.Context, h *Host) Result {
	k := h.know(ctx)
	by := make(map[netip.Addr][]subnet.Lease)
	for _, l := range k.leases {
		by[l.V4.PublicIP] = append(by[l.V4.PublicIP], l)
	}
	var ours, others, left []string
	for _, ip := range slices.SortedFunc(maps.Keys(by), netip.Addr.Compare) {
		if len(by[ip]) < 2 {
			continue
		}
		var who []string
		mine := false
		for _, l := range by[ip] {
			if l.Key() != h.key() && len(left) < mostCommands {
				left = append(left, release(h, l)+"   # one host: if this lease is a left-over")
			}
			who = append(who, l.Key().String()+" of "+cmp.Or(l.Node, "a host without a node id"))
			mine = mine || l.Key() == h.key()
		}
		if line := fmt.Sprintf("%s is the PublicIP of %s", ip, strings.Join(who, " and ")); mine {
			ours = append(ours, line)
		} else {
			others = append(others, line)
		}
	}
	const mend = "# two hosts: give each its own, with --public-ip or --iface in /etc/default/flanneld, and restart it"
	switch {
	case len(ours) > 0:
		return fail("%s", ours[0]).with(others...).mend(mend).mend(left...)
	case len(others) > 0:
		return warn("%s", others[0]).with(others[1:]...).mend(mend).mend(left...)
	}
	return pass("each of %s has its own", counted(len(k.leases), "lease"))
}

// release returns the command that releases a lease. flannelctl does not know of itself where
// the daemon's etcd is.
func release(h *Host, l subnet.Lease) string {
	etcd := h.Options.Etcd
	if api := apiOf(h); api != "" {
		etcd.API = api
	}
	return "flannelctl lease release " + l.V4.Subnet.String() + etcd.Arguments()
}

// lookBackends looks for hosts that cannot talk to this one, since they forward in another way.
func lookBackends(ctx context.Context, h *Host) Result {
	k := h.know(ctx)
	if why := h.outdated(ctx); why != "" {
		return fail("%s", why).mend("systemctl restart flanneld   # on each host that has started before the change")
	}
	own, found := h.own(ctx)
	if !found {
		return skip("%s has no lease of this host", k.source)
	}
	var other []string
	for _, l := range k.leases {
		switch {
		case l.Type != own.Type:
			other = append(other, fmt.Sprintf("%s at %s is on %s, this host on %s", l.Key(), l.V4.PublicIP, typeName(l), typeName(own)))
		case vni(l.V4.Data) != vni(own.V4.Data):
			other = append(other, fmt.Sprintf("%s at %s has VNI %s, this host %s", l.Key(), l.V4.PublicIP, vni(l.V4.Data), vni(own.V4.Data)))
		}
	}
	if len(other) == 0 {
		return pass("%s are on %s, as the configuration says", counted(len(k.leases), "lease"), typeName(own))
	}
	slices.Sort(other)
	more := other[1:min(len(other), mostCommands)]
	return fail("%s of %d hosts: %s", counted(len(other), "other"), len(k.leases), other[0]).with(more...).
		mend("systemctl restart flanneld   # on the hosts that do not have what the configuration in etcd says")
}

// typeName names the backend of a lease; the leases of two have none.
func typeName(l subnet.Lease) string { return cmp.Or(l.Type, "udp or alloc") }

// vni returns the network identifier that a lease names; empty: none.
func vni(data string) string {
	var d struct{ VNI json.Number }
	if data == "" || json.Unmarshal([]byte(data), &d) != nil {
		return ""
	}
	return d.VNI.String()
}
