package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// most is how many peers one pass logs with a line for each.
const most = 20

// peers are those that are forwarded to.
type peers struct {
	claims []subnet.Claim // of all families
	most   int            // of one family
}

// forwarded returns the peers of planes but those that the plan leaves out, and those
// whose routes could not be made.
func forwarded(planes []backend.Plane, skipped []backend.Skip, err error) (p peers) {
	out := make(map[netip.Prefix]bool, len(skipped))
	for _, s := range skipped {
		out[s.Subnet] = true
	}
	if failed, ok := errors.AsType[*datapath.ApplyError](err); ok {
		for _, err := range failed.Failed {
			if op, ok := errors.AsType[*datapath.OpError](err); ok && op.Op.Verb == datapath.Set {
				if route, ok := op.Op.Object.(datapath.Route); ok {
					out[route.Dst] = true
				}
			}
		}
	}
	if len(out) == 0 && len(planes) == 1 && planes[0].Peers != nil { // as it nearly always is: a copy of thousands would stay
		return peers{claims: planes[0].Peers, most: len(planes[0].Peers)}
	}
	p.claims = []subnet.Claim{}
	for _, plane := range planes {
		n := len(p.claims)
		p.claims = slices.Grow(p.claims, len(plane.Peers))
		for _, peer := range plane.Peers {
			if !out[peer.Subnet] {
				p.claims = append(p.claims, peer)
			}
		}
		p.most = max(p.most, len(p.claims)-n)
	}
	return p
}

// reporter logs which peers come and go, and which are left out.
type reporter struct {
	log   *slog.Logger
	peers []subnet.Claim // of the last pass that put everything in place; nil: there was none
}

// skips logs peers that are left out now and were not before, or for another reason.
func (r *reporter) skips(before, now []backend.Skip) {
	fresh := without(now, before, func(s backend.Skip) string { return s.Subnet.String() + s.Reason.Error() })
	for i, s := range fresh {
		if i == most {
			r.log.Warn("Ignoring more peers", "count", len(fresh)-i)
			return
		}
		r.log.Warn("Ignoring a peer: it cannot be forwarded to", "subnet", s.Subnet, "reason", s.Reason)
	}
}

// forwarding logs which peers came and went since the last pass that put everything
// in place, in the original's words.
func (r *reporter) forwarding(peers []subnet.Claim) {
	before := r.peers
	r.peers = peers
	switch {
	case slices.Equal(before, peers):
		return
	case before == nil:
		r.log.Info(fmt.Sprintf("Forwarding to the subnets of other hosts: %d added", len(peers)))
		return
	}
	added := without(peers, before, func(c subnet.Claim) subnet.Claim { return c }) // changed ones included
	removed := without(before, peers, func(c subnet.Claim) netip.Prefix { return c.Subnet })
	if len(added)+len(removed) > most {
		r.log.Info(fmt.Sprintf("Subnets added: %d, removed: %d", len(added), len(removed)), "forwarding", len(peers))
		return
	}
	for _, c := range removed {
		r.log.Info(fmt.Sprintf("Subnet removed: %s", c.Subnet))
	}
	for _, c := range added {
		r.log.Info(fmt.Sprintf("Subnet added: %s via %s", c.Subnet, c.PublicIP))
	}
}

// without returns what of all has no equal among others, by what key returns.
func without[T any, K comparable](all, others []T, key func(T) K) []T {
	have := make(map[K]bool, len(others))
	for _, o := range others {
		have[key(o)] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(a T) bool { return have[key(a)] })
}

// faults are those that were logged, each once. The zero value is ready to use.
type faults map[string]bool

// mostFaults bounds what is remembered.
const mostFaults = 10000

func (f *faults) log(all []backend.Fault, log *slog.Logger) {
	for _, a := range all {
		k := a.Text + fmt.Sprint(a.Attrs...)
		if (*f)[k] {
			continue
		}
		if *f == nil || len(*f) >= mostFaults {
			*f = make(faults)
		}
		(*f)[k] = true
		log.Log(context.Background(), a.Level, a.Text, a.Attrs...)
	}
}
