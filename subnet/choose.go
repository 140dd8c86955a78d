package subnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"flanneld/subnet/config"
)

// step is what a host does next on its way to a lease.
type step struct {
	do    action
	lease Lease // to write or, if do is drop, to delete
	was   Lease // what adopt writes over
	taken Lease // who has the previous subnet; zero if nobody has
	stuck Lease // our reservation that the configuration does not allow; zero if there is none
}

type action int

const (
	adopt  action = iota + 1 // write our value over our own key
	drop                     // delete our own lease: the configuration has changed
	reuse                    // create the previous subnet's key
	create                   // create a random one
)

// decide chooses the next step from all leases and the keys that are taken by
// what is no lease. It returns config.ErrFull if there is nothing to choose from. A nil
// rnd is the shared source.
//
// A reservation is never deleted: an operator made it, and no host can make it
// again.
func decide(leases []Lease, junk []Key, r Request, rnd *rand.Rand) (step, error) {
	var s step
	own, unfit, rival := r.own(leases)
	if i := slices.IndexFunc(unfit, Lease.Reserved); i >= 0 {
		s.stuck = unfit[i]
		unfit = slices.DeleteFunc(unfit, Lease.Reserved)
	}
	if len(own) > 0 {
		l := own[max(slices.IndexFunc(own, func(o Lease) bool { return o.Key() == r.Previous }), 0)]
		s.do, s.was, s.lease = adopt, l, r.at(l.Key())
		s.lease.Rev, s.lease.Expires = l.Rev, l.Expires
		return s, nil
	}
	if len(unfit) > 0 {
		s.do, s.lease = drop, unfit[0]
		return s, nil
	}
	if rival.Key() != (Key{}) {
		return step{}, fmt.Errorf("%w: %s is leased to %s, and this host is node %s", errRival, rival.Key(), rival.holder(), r.Lease.Node)
	}
	for _, k := range junk {
		var l Lease
		l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
		leases = append(slices.Clip(leases), l)
	}
	for _, l := range leases {
		if l.Key().Overlaps(r.Previous) {
			s.taken = l
		}
	}
	if s.taken.Key() == (Key{}) && r.fits(r.Previous) {
		s.do, s.lease = reuse, r.at(r.Previous)
		return s, nil
	}
	k, err := r.random(leases, rnd)
	s.do, s.lease = create, r.at(k)
	return s, err
}

// random returns free subnets of the families that are enabled.
func (r Request) random(leases []Lease, rnd *rand.Rand) (k Key, err error) {
	taken4, taken6 := slices.Clone(r.Avoid), slices.Clone(r.Avoid)
	for _, l := range leases {
		taken4, taken6 = append(taken4, l.V4.Subnet), append(taken6, l.V6.Subnet)
	}
	var freed4, freed6 []netip.Prefix
	for _, f := range r.Freed {
		freed4, freed6 = append(freed4, f.V4), append(freed6, f.V6)
	}
	if k.V4, err = config.FreeLast(r.Config.V4, taken4, freed4, rnd); err == nil && r.Config.V6.Enabled() {
		k.V6, err = config.FreeLast(r.Config.V6, taken6, freed6, rnd)
	}
	return k, err
}

// own returns the host's own leases, sorted, those that it may have and those that
// it may not, and one of another node with its PublicIP; zero if there is none.
// What has its node id comes before what has its PublicIP only.
func (r Request) own(leases []Lease) (fit, unfit []Lease, rival Lease) {
	var known, seems []Lease
	for _, l := range leases {
		switch whose(l, r.Lease.Node, r.Lease.V4.PublicIP) {
		case twins:
			known = append(known, l)
		case ours:
			if l.Node != "" {
				known = append(known, l)
			} else {
				seems = append(seems, l)
			}
		case rivals:
			if r.TakeOver {
				seems = append(seems, l)
			} else {
				rival = l
			}
		}
	}
	slices.SortFunc(known, Lease.Compare)
	slices.SortFunc(seems, Lease.Compare)
	for _, l := range append(known, seems...) {
		if r.fits(l.Key()) {
			fit = append(fit, l)
		} else {
			unfit = append(unfit, l)
		}
	}
	return fit, unfit, rival
}

// fits reports whether this host may have a lease on k.
func (r Request) fits(k Key) bool {
	return r.Config.Allows(k.V4, k.V6) && !slices.ContainsFunc(r.Avoid, func(p netip.Prefix) bool {
		return overlap(k.V4, p) || overlap(k.V6, p)
	})
}

// at returns the lease that the request wants, on the given subnets.
func (r Request) at(k Key) Lease {
	l := r.Lease
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return l
}
