package subnet

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"flanneld/subnet/config"
)

// step is what a host does next on its way to a lease.
type step struct {
	do    action
	lease Lease // to write or, if do is drop, to delete
	was   Lease // what adopt writes over
	// contest: adopt only what no live host has
	contest bool
	taken   Lease // who has the previous subnet; zero if nobody has
	stuck   Lease // our reservation that the configuration does not allow; zero if there is none
}

type action int

const (
	adopt  action = iota + 1 // write our value over our own key
	drop                     // delete our own lease: the configuration has changed
	reuse                    // create the previous subnet's key
	create                   // create a random one
)

// decide chooses the next step from all leases. It returns config.ErrFull if there is
// nothing to choose from.
//
// A reservation is never deleted: an operator made it, and no host can make it
// again.
func decide(leases []Lease, r Request) (step, error) {
	var s step
	var unfit Lease
	own, rival := r.own(leases)
	if rival == (Lease{}) {
		rival = r.former(leases)
	}
	for _, l := range own {
		switch {
		case !r.fits(l.Key()) && l.Reserved():
			s.stuck = cmp.Or(s.stuck, l)
		case !r.fits(l.Key()):
			unfit = cmp.Or(unfit, l)
		case s.do == 0 || l.Key() == r.Previous:
			s.do, s.was, s.lease = adopt, l, r.at(l.Key())
			s.lease.Rev, s.lease.Expires = l.Rev, l.Expires
		}
	}
	switch {
	case s.do == adopt:
		s.contest = r.doubts(s)
		return s, nil
	case unfit != Lease{}:
		s.do, s.lease = drop, unfit
		return s, nil
	case rival != Lease{} && r.fits(rival.Key()):
		s.do, s.was, s.lease, s.contest = adopt, rival, r.at(rival.Key()), true
		s.lease.Rev, s.lease.Expires = rival.Rev, rival.Expires
		return s, nil
	case rival != Lease{}:
		return step{}, fmt.Errorf("%w: %s is leased to %s, and this host is node %s", errRival, rival.Key(), rival.holder(), r.Lease.Node)
	}
	for _, l := range leases {
		if l.Key().Overlaps(r.Previous) {
			s.taken = l
		}
	}
	if s.taken == (Lease{}) && r.fits(r.Previous) {
		s.do, s.lease = reuse, r.at(r.Previous)
		return s, nil
	}
	k, err := r.random(leases)
	s.do, s.lease = create, r.at(k)
	return s, err
}

// doubts reports whether a lease that is to be adopted may be of a live host with our node
// id: a copy of this one, or this one's original. It has another PublicIP also if this host
// has moved while it was away. The host of a mirror's copy is not where it could hear us,
// and objects through the mirror if it is another one than this.
func (r Request) doubts(s step) bool {
	if s.was.Node == "" || s.was.Node != s.lease.Node || s.was.Mirror != "" {
		return false // an older release's, what the operator takes over, and a copy
	}
	return s.was.V4.PublicIP != s.lease.V4.PublicIP || s.was.contradicts(s.lease) || !r.Known && s.was.Key() != r.Previous
}

// former returns the lease that this host may have had with another node id and another
// PublicIP, before it lost its state directory: by its machine's mark, or by the MAC in the
// data of its device. It must be the previous subnet's, or the only such one. It returns
// zero if there is none.
func (r Request) former(leases []Lease) (former Lease) {
	if r.Known || r.stranger {
		return Lease{}
	}
	n := 0
	for _, l := range leases {
		machine := r.Mark != "" && strings.HasPrefix(l.Node, r.Mark)
		device := l.V4.Data != "" && l.V4.Data == r.Lease.V4.Data && l.Type == r.Lease.Type
		if l.Node == "" || l.Mirror != "" || !r.fits(l.Key()) || !machine && !device {
			continue
		}
		if n++; l.Key() == r.Previous {
			return l
		}
		former = l
	}
	if n > 1 {
		return Lease{}
	}
	return former
}

// random returns free subnets of the families that are enabled.
func (r Request) random(leases []Lease) (k Key, err error) {
	taken4, taken6 := slices.Clone(r.Avoid), slices.Clone(r.Avoid)
	for _, l := range leases {
		taken4, taken6 = append(taken4, l.V4.Subnet), append(taken6, l.V6.Subnet)
	}
	var freed4, freed6 []netip.Prefix
	for _, f := range r.Freed {
		freed4, freed6 = append(freed4, f.V4), append(freed6, f.V6)
	}
	if k.V4, err = config.FreeLast(r.Config.V4, taken4, freed4, nil); err == nil && r.Config.V6.Enabled() {
		k.V6, err = config.FreeLast(r.Config.V6, taken6, freed6, nil)
	}
	if errors.Is(err, config.ErrFull) {
		err = r.blame(leases, err)
	}
	return k, err
}

// blame adds to config.ErrFull the largest lease, if that takes the place of several.
func (r Request) blame(leases []Lease, full error) error {
	var largest Lease
	size := func(p netip.Prefix, of config.Range) int {
		if !p.IsValid() || !overlap(p, of.Network) {
			return 0
		}
		return max(of.SubnetLen-p.Bits(), 0)
	}
	most := 0
	for _, l := range leases {
		if n := max(size(l.V4.Subnet, r.Config.V4), size(l.V6.Subnet, r.Config.V6)); n > most {
			largest, most = l, n
		}
	}
	if most == 0 {
		return full
	}
	return fmt.Errorf("%w; the lease %s of %s takes the space of many: delete it, unless it is meant to be there", full, largest.Key(), largest.holder())
}

// own returns the host's own leases, and one of another node with its PublicIP; zero if
// there is none. What has its node id comes before what has its PublicIP only, and both
// before a mirror's copies.
func (r Request) own(leases []Lease) (own []Lease, rival Lease) {
	var seem, copies []Lease
	for _, l := range leases {
		switch o := whose(l, r.Lease.Node, r.Lease.V4.PublicIP); {
		case l.Mirror != "" && (o == duplicates || o == ours):
			copies = append(copies, l)
		case o == duplicates, o == ours && l.Node != "":
			own = append(own, l)
		case o == ours, o == rivals && r.TakeOver:
			seem = append(seem, l)
		case o == rivals:
			rival = l
		}
	}
	slices.SortFunc(own, Lease.Compare)
	slices.SortFunc(seem, Lease.Compare)
	slices.SortFunc(copies, Lease.Compare)
	return slices.Concat(own, seem, copies), rival
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
