package backend

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// reporter logs what passes bring about: the outcome when it is another than the
// last one's, peers that come and go, and what others changed in the kernel.
type reporter struct {
	log    *slog.Logger
	said   string // the last error; empty after a success
	passed bool   // there was a pass that put everything in place
	peers  []subnet.Claim

	repairs  int // not logged yet
	first    datapath.Op
	repaired time.Time // when some were last logged
}

const (
	// mostPeers come or go in one pass with a line for each.
	mostPeers = 20
	// repairGap is the time between two lines about repairs: whoever fights with
	// the daemon must not fill the disk.
	repairGap = time.Minute
)

func (r *reporter) outcome(p Pass) {
	switch {
	case p.Err == nil && r.said != "":
		r.log.Info("Datapath is in step again", "peers", p.Peers)
		r.said = ""
	case p.Err != nil && p.Err.Error() != r.said:
		r.log.Error("Datapath is not as it should be; trying again", "err", p.Err)
		r.said = p.Err.Error()
	}
}

// forwarding says which peers came and went since the last call, in the
// original's words. It is called after passes that put things in
// place.
func (r *reporter) forwarding(peers []subnet.Claim) {
	before := r.peers
	r.peers = peers
	switch {
	case slices.Equal(before, peers):
		return
	case !r.passed:
		r.log.Info(fmt.Sprintf("Forwarding to the subnets of other hosts: %d added", len(peers)))
		return
	}
	added, removed := missing(peers, before), gone(before, peers)
	if len(added)+len(removed) > mostPeers {
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

// gone returns the claims whose subnets nobody has in others.
func gone(claims, others []subnet.Claim) []subnet.Claim {
	have := make(map[netip.Prefix]bool, len(others))
	for _, c := range others {
		have[c.Subnet] = true
	}
	return slices.DeleteFunc(slices.Clone(claims), func(c subnet.Claim) bool { return have[c.Subnet] })
}

// repair adds changes that had no reason but that others had changed the kernel's
// state, and says so now and then.
func (r *reporter) repair(changes int, first datapath.Op) {
	if r.repairs == 0 {
		r.first = first
	}
	r.repairs += changes
	if r.repairs == 0 || !r.repaired.IsZero() && time.Since(r.repaired) < repairGap {
		return
	}
	r.log.Info("Others had changed the network state; it was put right", "changes", r.repairs, "first", r.first)
	r.repairs, r.repaired = 0, time.Now()
}
