package status

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// book is what is known of peers.
type book struct {
	backend, path string
	hosts         int // of the last complete pass, of one family
	wanted        map[netip.Prefix]*entry
	ignored       map[netip.Prefix]Peer // leases that are no peers
}

// entry is how one of thousands of peers is: what of a Peer is not the same for all, or its key.
type entry struct {
	publicIP netip.Addr
	state    PeerState
	since    time.Time
	reason   string
}

func (e *entry) peer(subnet netip.Prefix) Peer {
	return Peer{Subnet: subnet, PublicIP: e.publicIP, State: e.state, Since: e.since, Reason: e.reason}
}

func newBook() book {
	return book{wanted: make(map[netip.Prefix]*entry), ignored: make(map[netip.Prefix]Peer)}
}

// want takes note of what a pass is for. It returns the peers that are new or have moved,
// and those that are gone.
func (b *book) want(planes []backend.Plane, faults []backend.Fault, now time.Time) (added, removed []Peer) {
	still := 0
	for _, p := range planes {
		for _, c := range p.Peers {
			if peer := b.wanted[c.Subnet]; peer != nil && peer.publicIP == c.PublicIP {
				still++
				continue
			}
			peer := &entry{publicIP: c.PublicIP, state: PeerPending, since: now}
			b.wanted[c.Subnet] = peer
			added = append(added, peer.peer(c.Subnet))
		}
	}
	if len(b.wanted) > still+len(added) {
		fresh := make(map[netip.Prefix]bool, still+len(added)) // is only made if a peer is gone
		for _, p := range planes {
			for _, c := range p.Peers {
				fresh[c.Subnet] = true
			}
		}
		for s, peer := range b.wanted {
			if !fresh[s] {
				removed = append(removed, peer.peer(s))
				delete(b.wanted, s)
			}
		}
		slices.SortFunc(removed, func(a, c Peer) int { return a.Subnet.Compare(c.Subnet) })
	}
	b.ignore(faults, now)
	return added, removed
}

// mostNamed is the number of peers that have an event each, if they come or go at one time.
const mostNamed = 10

// changesOf returns what is said of peers that have come or gone.
func changesOf(added, removed []Peer) (events []Event) {
	if n := len(added) + len(removed); n > mostNamed {
		return []Event{{Level: "info", Part: "peers", Text: fmt.Sprintf("%d peers added or changed, %d removed", len(added), len(removed)), Count: 1}}
	}
	say := func(p Peer, what string) {
		events = append(events, Event{Level: "info", Part: "peers", Text: p.Subnet.String() + " " + what, Count: 1, Subnet: p.Subnet, PublicIP: p.PublicIP})
	}
	for _, p := range removed {
		say(p, "has gone, which was at "+p.PublicIP.String())
	}
	for _, p := range added {
		say(p, "is at "+p.PublicIP.String()+" from now on")
	}
	return events
}

// ignore takes note of leases that are no peers.
func (b *book) ignore(faults []backend.Fault, now time.Time) {
	if len(faults) == 0 && len(b.ignored) == 0 {
		return
	}
	before := b.ignored
	b.ignored = make(map[netip.Prefix]Peer, len(faults))
	for _, f := range faults {
		p := Peer{State: PeerIgnored, Since: now, Reason: clip(f.Text)}
		for i := 0; i+1 < len(f.Attrs); i += 2 {
			switch v := f.Attrs[i+1].(type) {
			case netip.Prefix:
				p.Subnet = v
			case subnet.Key:
				if !p.Subnet.IsValid() { // another lease's may follow
					p.Subnet = cmp.Or(v.V4, v.V6)
				}
			case netip.Addr:
				p.PublicIP = v
			}
		}
		if b.wanted[p.Subnet] != nil || !p.Subnet.IsValid() || len(b.ignored) >= MostPeers {
			continue
		}
		if was, ok := before[p.Subnet]; ok && was.Reason == p.Reason {
			p.Since = was.Since
		}
		b.ignored[p.Subnet] = p
	}
}

// passed takes note of how a pass went.
func (b *book) passed(p loop.Pass, now time.Time) {
	skipped := make(map[netip.Prefix]string, len(p.Skipped))
	for _, s := range p.Skipped {
		skipped[s.Subnet] = s.Reason.Error()
	}
	failed, others := b.refused(p.Err)
	for s, peer := range b.wanted {
		state, reason := PeerProgrammed, ""
		switch {
		case skipped[s] != "":
			state, reason = PeerSkipped, skipped[s]
		case failed[s] != "":
			state, reason = PeerFailed, failed[s]
		case others && peer.state != PeerProgrammed: // it is not known of which peer
			state, reason = PeerPending, p.Err.Error()
		}
		if peer.state != state {
			peer.state, peer.since = state, now
		}
		peer.reason = clip(reason)
	}
}

// refused returns which subnets lack a route, a neighbour or a forwarding entry, and why, and
// whether anything else has failed.
func (b *book) refused(err error) (subnets map[netip.Prefix]string, others bool) {
	if err == nil {
		return nil, false
	}
	apply, ok := errors.AsType[*datapath.ApplyError](err)
	if !ok {
		return nil, true
	}
	subnets = make(map[netip.Prefix]string)
	at := make(map[netip.Addr][]netip.Prefix, 2*len(b.wanted)) // by a neighbour's address, and by where a tunnel ends
	for s, peer := range b.wanted {
		at[s.Addr()] = append(at[s.Addr()], s)
		at[peer.publicIP] = append(at[peer.publicIP], s)
	}
	for _, f := range apply.Failed {
		op, ok := errors.AsType[*datapath.OpError](f)
		if !ok {
			others = true
			continue
		}
		var of []netip.Prefix
		switch o := op.Op.Object.(type) {
		case datapath.Route:
			of = []netip.Prefix{o.Dst}
		case datapath.Neigh:
			of = at[o.IP]
		case datapath.FDBEntry:
			of = at[o.Dst]
		}
		for _, s := range of {
			subnets[s] = f.Error()
		}
		others = others || of == nil
	}
	return subnets, others
}

// counts counts peers by their states, and those to which packets go through the kernel.
func (b *book) counts(inKernel map[netip.Prefix]bool) (p Peers) {
	p.Wanted, p.Ignored = len(b.wanted), len(b.ignored)
	for s, peer := range b.wanted {
		switch peer.state {
		case PeerFailed:
			p.Failed++
		case PeerSkipped:
			p.Skipped++
		case PeerPending:
			p.Pending++
		default:
			p.Programmed++
			if inKernel[s] {
				p.InKernel++
			}
		}
	}
	return p
}

// worst orders states.
var worst = []PeerState{PeerFailed, PeerSkipped, PeerIgnored, PeerPending, PeerProgrammed}

// list returns at most so many peers, the worst first, and how many it leaves out.
func (b *book) list(most int, inKernel map[netip.Prefix]bool) (list []Peer, omitted int) {
	list = slices.Grow(list, len(b.wanted)+len(b.ignored))
	for s, p := range b.wanted {
		peer := p.peer(s)
		if peer.Backend, peer.Path = b.backend, b.path; inKernel[peer.Subnet] {
			peer.Path = "kernel"
		}
		list = append(list, peer)
	}
	for _, p := range b.ignored {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, c Peer) int {
		return cmp.Or(slices.Index(worst, a.State)-slices.Index(worst, c.State), a.Subnet.Compare(c.Subnet))
	})
	omitted = max(len(list)-most, 0)
	return list[:len(list)-omitted], omitted
}
