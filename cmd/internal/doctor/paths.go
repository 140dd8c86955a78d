package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"flanneld/backend/firewall"
	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

// astray is a peer to which, or to whose subnet, the kernel sends by another interface than
// its packets come in by.
type astray struct {
	in, out string // interfaces; out is empty: there is no way
	to      netip.Addr
}

// lookReversePath looks for packets of peers that rp_filter drops, since the kernel would send
// to their source by another interface.
func lookReversePath(ctx context.Context, h *Host) Result {
	w, err := h.want(ctx)
	if err != nil {
		return fail("the external interface: %v", err).mend("# name one that exists with --iface in /etc/default/flanneld")
	}
	odd, err := w.astray(ctx)
	if err != nil {
		return skip("the kernel's routes cannot be asked: %v", err)
	}
	strict := make(map[string]bool)
	var saw []string
	for _, link := range w.entrances() {
		mode := reverseMode(link)
		strict[link] = mode == "1"
		saw = append(saw, fmt.Sprintf("%s %s", link, mode))
	}
	var wrong []string
	var mend []string
	var fixes []func() error
	for _, a := range odd {
		if !strict[a.in] {
			continue
		}
		wrong = append(wrong, fmt.Sprintf("packets from %s come in by %s and are dropped: the kernel sends there by %s, and rp_filter is strict (1)", a.to, a.in, orNone(a.out)))
		if file := "net/ipv4/conf/" + a.in + "/rp_filter"; !slices.Contains(mend, "sysctl -w "+dotted(file)+"=2") {
			mend = append(mend, "sysctl -w "+dotted(file)+"=2", "ip route get "+a.to.String()+"   # mend the route, if it is not meant")
			fixes = append(fixes, setKernelValue(file, "2"))
		}
	}
	if len(wrong) == 0 {
		return pass("rp_filter drops nothing of peers (%s)", joinList(saw))
	}
	r := fail("%s", wrong[0]).with(wrong[1:min(len(wrong), mostCommands)]...).mend(mend...)
	r.Fix = all(fixes)
	return r
}

// entrances returns the interfaces by which packets of peers come in: the underlay's and the
// overlay's own.
func (w *wanted) entrances() []string {
	links := []string{w.underlay.Name}
	for _, in := range w.plan.Ingress {
		if in.Device != "" && !slices.Contains(links, in.Device) {
			links = append(links, in.Device)
		}
	}
	return links
}

// mostAsked bounds the peers whose routes are asked for.
const mostAsked = 2000

// astray returns the peers whose packets come by another interface than leads to them.
func (w *wanted) astray(ctx context.Context) (odd []astray, err error) {
	for i, plane := range w.planes {
		if plane.Network.Addr().Is6() || len(plane.Peers) == 0 {
			continue // rp_filter is IPv4's
		}
		peers := plane.Peers[:min(len(plane.Peers), mostAsked)]
		hosts, subnets := make([]netip.Addr, len(peers)), make([]netip.Addr, len(peers))
		for j, p := range peers {
			hosts[j], subnets[j] = p.PublicIP, p.Subnet.Addr().Next()
		}
		for _, way := range []struct {
			in   string
			from []netip.Addr
			to   []netip.Addr
		}{{w.underlay.Name, []netip.Addr{w.underlay.V4}, hosts}, {w.plan.Ingress[i].Device, nil, subnets}} {
			if way.in == "" { // what comes unpacked comes by the underlay
				way.in = w.underlay.Name
			}
			hops, err := kernel.Kernel{}.NextHops(ctx, datapath.Scope{}, way.from, way.to)
			if err != nil {
				return nil, err
			}
			for j, hop := range hops {
				if hop.Link != way.in && !(w.plan.Ingress[i].Direct && hop.Link == w.underlay.Name) {
					odd = append(odd, astray{way.in, hop.Link, way.to[j]})
				}
			}
		}
	}
	return odd, nil
}

// reverseMode returns the rp_filter of an interface: the larger of its own and of all.
func reverseMode(link string) string {
	return max(kernelValue("net/ipv4/conf/all/rp_filter"), kernelValue("net/ipv4/conf/"+link+"/rp_filter"))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// lookNeighbours compares the ARP table's limits with the hosts on the underlay's own subnet.
func lookNeighbours(ctx context.Context, h *Host) Result {
	u, err := h.external(ctx)
	if err != nil {
		return skip("the external interface: %v", err)
	}
	local, err := netif.Subnets(u.Name)
	if err != nil {
		return skip("%v", err)
	}
	near := make(map[netip.Addr]bool)
	for _, l := range h.know(ctx).leases {
		if ip := l.V4.PublicIP; ip != u.V4 && slices.ContainsFunc(local, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			near[ip] = true
		}
	}
	t, err := netif.Neighbours()
	if err != nil {
		return skip("%v", err)
	}
	return roomFor(u.Name, len(near), t)
}

// roomFor judges the limits of the ARP table by the hosts that are to be in it. The remedy lowers
// none: others need room, too.
func roomFor(link string, near int, t netif.NeighbourTable) Result {
	saw := fmt.Sprintf("the subnet of %s has %s beside this one, and the ARP table room for %d (gc_thresh3)", link, counted(near, "host"), t.Hard)
	if t.Fulls > 0 { // perhaps long ago, before the limit was raised
		saw += fmt.Sprintf(", which refused %d entries since the boot", t.Fulls)
	}
	var r Result
	switch {
	case near >= int(t.Hard):
		r = fail("%s: some cannot be reached", saw)
	case near >= int(t.Soft):
		r = warn("%s; from %d on (gc_thresh2) entries are thrown away after 5 s", saw, t.Soft)
	default:
		return pass("%s", saw)
	}
	want := max(4*near, 4096)
	var fixes []func() error
	for _, limit := range []struct {
		name   string
		is, to int
	}{{"net/ipv4/neigh/default/gc_thresh3", int(t.Hard), want}, {"net/ipv4/neigh/default/gc_thresh2", int(t.Soft), want / 2}} {
		if limit.to > limit.is {
			r = r.mend(fmt.Sprintf("sysctl -w %s=%d", dotted(limit.name), limit.to))
			fixes = append(fixes, setKernelValue(limit.name, fmt.Sprint(limit.to)))
		}
	}
	r.Fix = all(fixes)
	return r
}

// lookCards looks for another card in the underlay's subnet: each answers ARP for the
// addresses of both, and packets leave by either.
func lookCards(ctx context.Context, h *Host) Result {
	u, err := h.external(ctx)
	if err != nil {
		return fail("%v", err).mend("# name one that exists with --iface in /etc/default/flanneld")
	}
	mine, err := netif.Prefixes(u.Name)
	if err != nil {
		return skip("%v", err)
	}
	mine = slices.DeleteFunc(mine, func(p netip.Prefix) bool { return p.Addr() != u.V4 })
	others, err := netif.Addrs(func(p netip.Prefix) bool {
		return slices.ContainsFunc(mine, func(m netip.Prefix) bool { return p.Bits() < 32 && m.Bits() < 32 && p.Overlaps(m) })
	})
	if err != nil {
		return skip("%v", err)
	}
	for _, o := range others {
		if o.Interface == u.Name {
			continue
		}
		return warn("%s (%s) is in the subnet of %s (%s), which flanneld uses: others may be told the wrong card's MAC, and packets may leave by either",
			o.Interface, o.Prefix, u.Name, mine[0]).
			mend("ip addr del "+o.String()+" dev "+o.Interface+"   # give it an address in another subnet", "# or make a bond of the two, or have each answer for itself alone:",
				"sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
	}
	return pass("%s (%s) is alone in its subnet", u.Name, u.V4)
}

// lookSource looks whether what this host sends comes from the address that it publishes, and
// who was refused here for that.
func lookSource(ctx context.Context, h *Host) Result {
	u, err := h.external(ctx)
	if err != nil {
		return skip("the external interface: %v", err)
	}
	if public := h.Status.Lease.PublicIP; public.IsValid() && public != u.V4 {
		return warn("this host publishes %s and sends from %s: peers drop what does not come from the published one", public, u.V4).
			mend("# where no NAT on the way makes it "+public.String()+", start the others with --peer-allow="+u.V4.String()+",",
				"# or this one without --public-ip")
	}
	local, err := netif.Subnets(u.Name)
	if err != nil {
		return skip("%v", err)
	}
	refused, err := firewall.Refused()
	if err != nil {
		return skip("%v", err)
	}
	refused = slices.DeleteFunc(refused, func(a netip.Addr) bool {
		near := slices.ContainsFunc(local, func(p netip.Prefix) bool { return p.Contains(a) })
		return !near || slices.ContainsFunc(h.know(ctx).leases, func(l subnet.Lease) bool { return l.V4.PublicIP == a })
	})
	if len(refused) == 0 {
		return pass("this host publishes %s and sends from it, and no neighbour was refused in the last minutes", u.V4)
	}
	r := fail("%s sends to the tunnel's port here, and no lease publishes that address", refused[0])
	for _, a := range refused {
		r = r.with("refused: "+a.String()).mend("# if "+a.String()+" is a host of this network: start it with --public-ip="+a.String()+" or another --iface;",
			"# or start flanneld here with --peer-allow="+a.String())
	}
	return r
}
