package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"flanneld/backend/firewall"
	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/options"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/envfile"
	"flanneld/subnet"
)

// lookLeftovers looks for what daemons have left that do not run any more.
func lookLeftovers(ctx context.Context, h *Host) Result {
	locked, err := host.Locked()
	if err != nil {
		return skip("which daemons run here is not known: %v", err)
	}
	older := len(Running("flanneld")) > len(locked) // a release that holds no lock
	running := append(locked, h.Options.Etcd.Prefix)
	var saw, mend []string
	add := func(what, how string) { saw, mend = append(saw, what), append(mend, how) }
	links, err := overlayLinks(ctx)
	if err != nil {
		return skip("%v", err)
	}
	w, wantErr := h.want(ctx)
	for _, l := range links {
		owner, alias := strings.CutPrefix(l.Alias, underlay.AliasPrefix)
		wanted := wantErr != nil || slices.ContainsFunc(w.plan.State.Links, func(p datapath.Link) bool { return p.Name == l.Name })
		switch {
		case alias && !slices.ContainsFunc(running, func(p string) bool { return host.Owner(p) == l.Alias }):
			add(fmt.Sprintf("%s is of the network %s, for which no flanneld runs here", l.Name, owner), "ip link del "+l.Name)
		case !alias && !wanted && !older: // or that may have it
			add(l.Name+" is of no flanneld that runs here: an older release, or a person, has made it", "ip link del "+l.Name)
		}
	}
	routes, err := strayRoutes(ctx, h, locked)
	if err != nil {
		return skip("%v", err)
	}
	for _, r := range routes {
		add("the route to "+r.Dst.String()+" is a flanneld's, and of no network of one that runs here", datapath.Op{Verb: datapath.Delete, Object: r}.String())
	}
	var prefixes []string
	for _, p := range running {
		if p == options.DefaultPrefix {
			p = ""
		}
		prefixes = append(prefixes, p)
	}
	tables, _ := firewall.Strays(prefixes) // a kernel without nftables has none
	for _, id := range tables {
		add("the table "+id.String()+" of nftables is of a flanneld that does not run here", "nft delete table "+id.String())
	}
	for _, l := range h.know(ctx).leases {
		if node := h.Status.Lease.Node; node != "" && l.Node == node && l.Key() != h.key() && h.key() != (subnet.Key{}) {
			add(fmt.Sprintf("etcd has another lease of this host, on %s", l.Key()), release(h, l))
		}
	}
	if len(saw) == 0 {
		return pass("no device, route, table or lease is left of another daemon")
	}
	return warn("%s", saw[0]).with(saw[1:]...).mend(mend...)
}

// overlayLinks returns the devices that have a name, or an owner, of flanneld's.
func overlayLinks(ctx context.Context) ([]datapath.Link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var scope datapath.Scope
	for _, i := range all {
		if strings.HasPrefix(i.Name, "flannel") {
			scope.Links = append(scope.Links, i.Name)
		}
	}
	if scope.Links == nil {
		return nil, nil
	}
	have, err := kernel.Kernel{}.Read(ctx, scope)
	return have.Links, err
}

// strayRoutes returns routes with our mark outside the networks of the daemon that is looked
// at. If there are others, nobody knows their networks.
func strayRoutes(ctx context.Context, h *Host, locked []string) (stray []datapath.Route, err error) {
	if slices.ContainsFunc(locked, func(p string) bool { return p != h.Options.Etcd.Prefix }) || h.know(ctx).configErr != nil {
		return nil, nil
	}
	own := host.ReadSubnetEnv(h.Options.SubnetFile, discard()).Networks(h.know(ctx).config.Networks()...)
	everywhere := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	have, err := kernel.Kernel{}.Read(ctx, datapath.Scope{Networks: everywhere, Protocol: host.RouteProtocol})
	for _, r := range have.Routes {
		if !r.Foreign && !(datapath.Scope{Networks: own}).InNetworks(r.Dst) {
			stray = append(stray, r)
		}
	}
	return stray, err
}

// lookManaged looks whether NetworkManager or networkd takes the overlay's devices for theirs,
// by what the two say of each in /run.
func lookManaged(ctx context.Context, _ *Host) Result {
	links, err := overlayLinks(ctx)
	if err != nil {
		return skip("%v", err)
	}
	var names []string
	r := fail("")
	for _, l := range links {
		names = append(names, l.Name)
		link, err := net.InterfaceByName(l.Name)
		if err != nil {
			continue // it has gone
		}
		index := strconv.Itoa(link.Index)
		if vars, _ := envfile.Read("/run/NetworkManager/devices/" + index); vars["managed"] == "true" || vars["managed"] == "1" {
			r = r.with("NetworkManager manages "+l.Name+": it may take its addresses and routes away").mend(
				"printf '[keyfile]\\nunmanaged-devices+=interface-name:flannel*\\n' >/etc/NetworkManager/conf.d/50-flannel.conf", "systemctl reload NetworkManager",
				"nmcli device set "+l.Name+" managed no")
		}
		if vars, _ := envfile.Read("/run/systemd/netif/links/" + index); vars["ADMIN_STATE"] != "" && vars["ADMIN_STATE"] != "unmanaged" {
			r = r.with("systemd-networkd manages "+l.Name+": it may take its addresses and routes away").mend(
				"printf '[Match]\\nName=flannel*\\n[Link]\\nUnmanaged=yes\\n' >/etc/systemd/network/10-flannel.network", "networkctl reload")
		}
	}
	if len(r.More) == 0 {
		return pass("neither NetworkManager nor systemd-networkd manages %s", orNone(joinList(names)))
	}
	r.Saw, r.More = r.More[0], r.More[1:]
	return r
}
