package loop

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"flanneld/backend"
	"flanneld/subnet"
)

// most is how many peers one pass logs with a line for each.
const most = 20

// peers are those that are forwarded to.
type peers struct {
	claims []subnet.Claim // of all families
	most   int            // of one family
}

// forwarded returns the peers of planes but those that the plan leaves out.
func forwarded(planes []backend.Plane, skipped []backend.Skip) (p peers) {
	out := make(map[netip.Prefix]bool, len(skipped))
	for _, s := range skipped {
		out[s.Subnet] = true
	}
	total := 0
	for _, plane := range planes {
		total += len(plane.Peers)
	}
	p.claims = make([]subnet.Claim, 0, total)
	for _, plane := range planes {
		n := len(p.claims)
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
	log    *slog.Logger
	passed bool // there was a pass that put everything in place
	peers  []subnet.Claim
}

// skips logs peers that are left out now and were not before, or for another reason.
func (r *reporter) skips(before, now []backend.Skip) {
	known := make(map[netip.Prefix]string, len(before))
	for _, s := range before {
		known[s.Subnet] = s.Reason.Error()
	}
	fresh := slices.DeleteFunc(slices.Clone(now), func(s backend.Skip) bool { return known[s.Subnet] == s.Reason.Error() })
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
	before, first := r.peers, !r.passed
	r.peers, r.passed = peers, true
	switch {
	case slices.Equal(before, peers):
		return
	case first:
		r.log.Info(fmt.Sprintf("Forwarding to the subnets of other hosts: %d added", len(peers)))
		return
	}
	added, removed := missing(peers, before), gone(before, peers)
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

// missing returns the claims that are not among others, changed ones included.
func missing(claims, others []subnet.Claim) []subnet.Claim {
	have := make(map[subnet.Claim]bool, len(others))
	for _, c := range others {
		have[c] = true
	}
	return slices.DeleteFunc(slices.Clone(claims), func(c subnet.Claim) bool { return have[c] })
}

// gone returns the claims with subnets that are not among others.
func gone(claims, others []subnet.Claim) []subnet.Claim {
	have := make(map[netip.Prefix]bool, len(others))
	for _, c := range others {
		have[c.Subnet] = true
	}
	return slices.DeleteFunc(slices.Clone(claims), func(c subnet.Claim) bool { return have[c.Subnet] })
}

// faults are those that were logged. The zero value is ready to use.
type faults map[fault]bool

type fault struct {
	text, typ string
	key       subnet.Key
	publicIP  netip.Addr
}

// mostFaults bounds what is remembered.
const mostFaults = 10000

// log logs each fault of a lease as it is once.
func (f *faults) log(all []backend.Fault, log *slog.Logger) {
	for _, a := range all {
		k := fault{a.Text, a.Lease.Type, a.Lease.Key(), a.Lease.V4.PublicIP}
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
