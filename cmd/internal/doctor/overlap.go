package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"flanneld/backend/underlay"
	"flanneld/cmd/internal/host"
	"flanneld/pkg/smallfile"
	"flanneld/subnet"
)

// lookOverlap looks for addresses of the overlay that this host reaches, or that Docker gives
// away, in another way.
func lookOverlap(ctx context.Context, h *Host) Result {
	cfg := h.know(ctx).config
	if err := cfg.Spares(underlay.Gateways()); err != nil {
		return fail("%v", err).mend("# write another Network into the configuration, and restart flanneld on all hosts")
	}
	w, err := h.want(ctx)
	if err != nil {
		return skip("what the overlay needs cannot be told: %v", err)
	}
	have, err := w.have(ctx)
	if err != nil {
		return skip("%v", err)
	}
	var wrong, mend, may []string
	own := h.key()
	for _, r := range have.Routes {
		switch {
		case !r.Foreign || within(own, r.Dst):
		case r.Connected():
			may = append(may, fmt.Sprintf("%s has an address in %s, which is in the overlay's %s", r.Link, r.Dst, w.planes[0].Network))
			if leased(w, r.Dst) {
				wrong = append(wrong, may[len(may)-1]+" and is another host's lease")
				mend = append(mend, "ip addr show dev "+r.Link+"   # give it another subnet; of Docker's: docker network ls, docker network rm NAME")
			}
		default:
			wrong = append(wrong, fmt.Sprintf("a route that is not flanneld's leads %s, a part of the overlay, to %s", r.Dst, orNone(strings.TrimSpace(fmt.Sprint(validOrEmpty(r.Gateway), " ", r.Link)))))
			mend = append(mend, "ip route del "+r.Dst.String()+"   # and find out who makes it")
		}
	}
	if len(wrong) > 0 {
		return fail("%s", wrong[0]).with(wrong[1:min(len(wrong), mostCommands)]...).mend(mend[:min(len(mend), mostCommands)]...)
	}
	for _, pool := range dockerPools() {
		for _, n := range cfg.Networks() {
			if n.IsValid() && n.Overlaps(pool) {
				may = append(may, fmt.Sprintf("Docker makes networks in %s, which overlaps the overlay's %s", pool, n))
			}
		}
	}
	if len(may) > 0 {
		return warn("%s", may[0]).with(may[1:]...).mend(`# give Docker other "default-address-pools" in `+host.DaemonJSON+", or the overlay another Network,",
			"# or let SubnetMin and SubnetMax leave that out (docs/configuration.md)")
	}
	return pass("%s is this host's by the overlay alone", w.planes[0].Network)
}

// within reports whether a prefix is, or is a part of, this host's subnet of its family.
func within(own subnet.Key, p netip.Prefix) bool {
	mine := own.V4
	if p.Addr().Is6() {
		mine = own.V6
	}
	return mine.IsValid() && mine.Overlaps(p) && mine.Bits() <= p.Bits()
}

func validOrEmpty(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// leased reports whether a peer has a part of a subnet.
func leased(w *wanted, p netip.Prefix) bool {
	for _, plane := range w.planes {
		for _, peer := range plane.Peers {
			if peer.Subnet.Overlaps(p) {
				return true
			}
		}
	}
	// What this host itself is in is no peer's, so that it is among the faults.
	return slices.ContainsFunc(w.leases, p.Overlaps)
}

// dockerPools returns where Docker takes the subnets of new networks from.
func dockerPools() []netip.Prefix {
	text, _ := smallfile.Read(host.DaemonJSON, mostJSON) // most hosts have none
	var args []string
	for _, d := range dockerds() {
		args = append(args, d.values("default-address-pool")...)
	}
	return poolsOf(text, args)
}

// poolsOf reads Docker's file and its flags; without both it has what it is built with.
func poolsOf(file []byte, flags []string) (pools []netip.Prefix) {
	var f struct {
		Pools []struct{ Base string } `json:"default-address-pools"`
	}
	_ = json.Unmarshal(file, &f) // what is wrong with it another check says
	var bases []string
	for _, p := range f.Pools {
		bases = append(bases, p.Base)
	}
	for _, flag := range flags { // base=10.0.0.0/8,size=24
		for part := range strings.SplitSeq(flag, ",") {
			if base, ok := strings.CutPrefix(strings.TrimSpace(part), "base="); ok {
				bases = append(bases, base)
			}
		}
	}
	if bases == nil {
		bases = []string{"172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14", "192.168.0.0/16"}
	}
	for _, b := range bases {
		if p, err := netip.ParsePrefix(b); err == nil {
			pools = append(pools, p.Masked())
		}
	}
	return pools
}
