package subnet

import (
	"fmt"

	"flanneld/subnet/config"
)

// say logs what is about to be done, in the original's words, unless it is what was
// tried last time.
func (a *acquirer) say(s step) {
	same := s.do == a.last.do && (s.do == create || s.lease.Key() == a.last.lease.Key())
	if a.last = s; same {
		return
	}
	ip := a.Lease.V4.PublicIP
	if s.stuck != (Lease{}) && s.do != drop {
		a.log.Error(fmt.Sprintf("Found reservation (%s) for current IP (%s) but not compatible with current config, leaving it", s.stuck.Key(), ip),
			"hint", "delete it, or reserve a subnet between SubnetMin and SubnetMax of the length SubnetLen")
	}
	switch s.do {
	case adopt:
		switch was := s.was; {
		case was.Node == "":
			if was.contradicts(s.lease) {
				a.log.Warn("The lease found differs from what this host would write: it was written before this host was reinstalled or lost its "+
					"state directory, or by another host that publishes the same PublicIP and loses its traffic now; "+
					"then give each its own with --public-ip or --iface",
					"PublicIP", ip, "subnet", was.Key(), "theirs", was.data(), "ours", s.lease.data())
			}
		case a.Lease.Node != "" && was.Node != a.Lease.Node && was.V4.PublicIP != ip:
			a.log.Warn("Taking over another node's lease, which this machine or its device had at another PublicIP, before the state directory was lost",
				"subnet", was.Key(), "was", was.V4.PublicIP, "now", ip, "node", was.Node, "this node", a.Lease.Node)
		case a.Lease.Node != "" && was.Node != a.Lease.Node:
			a.log.Warn("Taking over another node's lease, which has this host's PublicIP", "subnet", was.Key(), "PublicIP", ip,
				"node", was.Node, "this node", a.Lease.Node)
		case was.V4.PublicIP != ip:
			a.log.Info("This host's PublicIP has changed; its lease is updated", "subnet", was.Key(), "was", was.V4.PublicIP, "now", ip)
		case was.data() != s.lease.data(): // as after a restart with another configuration
			a.log.Info("This host's lease is updated to what the host runs with now", "subnet", was.Key(), "was", was.data(), "now", s.lease.data())
		}
		a.log.Info(fmt.Sprintf("Found lease (%s) for current IP (%s), reusing", s.lease.Key(), ip))
	case drop:
		a.log.Info(fmt.Sprintf("Found lease (%s) for current IP (%s) but not compatible with current config, deleting", s.lease.Key(), ip))
	case reuse:
		a.log.Info(fmt.Sprintf("Found previously leased subnet (%s), reusing", s.lease.Key()))
	case create:
		switch {
		case s.taken != Lease{} && s.taken.V4.PublicIP != ip: // else it is the reservation that was complained about
			a.log.Warn(fmt.Sprintf("Previously leased subnet (%s) is leased to another host, taking another", a.Previous),
				"by", s.taken.V4.PublicIP, "subnet", s.taken.Key())
		case s.taken == Lease{} && a.Previous != Key{}:
			a.log.Error(fmt.Sprintf("Previously leased subnet (%s) not compatible with the Etcd network config, ignoring", a.Previous))
		}
		for _, f := range []config.Range{a.Config.V4, a.Config.V6} {
			if f.Enabled() {
				a.log.Info(fmt.Sprintf("Picking subnet in range %s ... %s", f.Min, f.Max))
			}
		}
	}
}
