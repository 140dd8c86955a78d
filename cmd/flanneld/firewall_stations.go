package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
	"flanneld/pkg/datapath"
	"flanneld/pkg/firewall/nft"
	"flanneld/subnet"
)

// tie says which station on the underlay which peers are, as far as the kernel has
// found out. It is of one family.
type tie struct {
	homes    []netip.Prefix // subnets of peers whose station is known
	pairs    []nft.Station  // these, each with its station
	stations []nft.Station  // see tieOf
}

// tieOf returns the tie of peers. A peer's station is the one that answers for its
// PublicIP, where it is a neighbour.
//
// Stations are all that answer for any address but the allowed ones: one of them is
// not the peer's if the peer has another. A station that answers for nothing may be a
// further card of the peer's, as of a bond that spreads what it sends over its cards,
// and is none of them. Strict: stations are those of the allowed addresses, and all
// others are strangers.
func tieOf(peers []subnet.Claim, neighbours []datapath.Neigh, allow []netip.Prefix, strict bool) tie {
	var t tie
	at := make(map[netip.Addr]datapath.MAC, len(neighbours))
	allowed := make(map[datapath.MAC]bool)
	for _, n := range neighbours {
		at[n.IP] = n.MAC
		allowed[n.MAC] = allowed[n.MAC] || slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(n.IP) })
	}
	for _, n := range neighbours {
		if allowed[n.MAC] == strict {
			t.stations = append(t.stations, nft.Station{MAC: n.MAC})
		}
	}
	for _, p := range peers {
		mac, known := at[p.PublicIP]
		if !known {
			continue
		}
		home := p.Subnet.Masked()
		t.homes = append(t.homes, home)
		t.pairs = append(t.pairs, nft.Station{MAC: mac, Addr: home.Addr()})
	}
	return t
}

// lengths are those of the subnets, in bits.
func (t tie) lengths() []int {
	var all []int
	for _, p := range t.homes {
		all = append(all, p.Bits())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// neighbourhood is what the guard has to know of a link's neighbours; see
// kernel.Kernel.
type neighbourhood interface {
	Neighbours(ctx context.Context, link string) ([]datapath.Neigh, error)
	WatchNeighbours(ctx context.Context, link string, wake chan<- struct{}) error
}

// stationLink returns the interface by which packets come unpacked, from stations that
// have to be known; empty: by none.
func (g *guard) stationLink() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.off || !g.opts.PeerFilter {
		return ""
	}
	for _, f := range g.facts {
		if f.ingress.Direct {
			return f.underlay
		}
	}
	return ""
}

// followStations keeps the filter in step with who answers for which address on the
// interface of the moment, until ctx is done.
func (g *guard) followStations(ctx context.Context) {
	for ctx.Err() == nil {
		link := g.stationLink()
		on, stop := context.WithCancel(ctx)
		var following sync.WaitGroup
		if link != "" {
			following.Go(func() { g.followStationsOn(on, link) })
		}
		for ctx.Err() == nil && g.stationLink() == link {
			select {
			case <-ctx.Done():
			case <-g.faced:
			}
		}
		stop()
		following.Wait()
	}
}

func (g *guard) followStationsOn(ctx context.Context, link string) {
	wake := make(chan struct{}, 1)
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		if err := g.network.WatchNeighbours(ctx, link, wake); err != nil {
			g.log.Debug("Changes of neighbours are noticed at the next resync only", "err", err)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		start := time.Now()
		if g.lookAround(ctx) {
			if _, _, _, err := g.filter(nil); err != nil {
				g.poke() // a pass says what is wrong, and tries again
			}
		}
		if backoff.Sleep(ctx, min(max(leastGap, 10*time.Since(start)), mostGap)) != nil {
			return
		}
	}
}

// lookAround finds out who answers for which address on the underlay, and reports
// whether that has changed.
func (g *guard) lookAround(ctx context.Context) (changed bool) {
	link := g.stationLink()
	if link == "" {
		return false
	}
	now, err := g.network.Neighbours(ctx, link)
	if err != nil {
		now = nil // old ones would keep out a peer whose card has changed
	}
	slices.SortFunc(now, func(a, b datapath.Neigh) int {
		if c := a.IP.Compare(b.IP); c != 0 {
			return c
		}
		return strings.Compare(string(a.MAC[:]), string(b.MAC[:]))
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil && !g.blind && ctx.Err() == nil {
		g.log.Warn("Cannot tell which station on the underlay is which host: "+
			"what comes by it from the overlay is looked at for its source only", "err", err)
	}
	g.blind = err != nil
	changed = !slices.Equal(g.stations, now)
	g.stations = now
	return changed
}

// tellStrayed logs who sends under another host's addresses, and what to do if that
// is as it should be.
func (g *guard) tellStrayed(f filterFacts, table nft.ID, set string) {
	seen, err := g.kernel.RememberedPairs(table, set)
	if err != nil {
		g.log.Debug("Cannot read who was refused", "err", err)
		return
	}
	for _, s := range seen {
		var answers []netip.Addr // for which it is found
		for _, n := range f.stations {
			if n.MAC == s.MAC {
				answers = append(answers, n.IP)
			}
		}
		owner, found := holder(f, s.Addr)
		if !found || slices.Contains(answers, owner.PublicIP) || !g.mayName(datapath.MAC(s.MAC).String()+" "+owner.PublicIP.String()) {
			continue
		}
		g.log.Warn("Packets were dropped that came from the underlay with a source in a host's subnet, but were sent by another "+
			"station than that host. If it is the same host by another card or address, or sends on its behalf, start flanneld here with "+
			remedy(f, answers),
			"source", s.Addr, "host", owner.PublicIP, "station", datapath.MAC(s.MAC), "addresses", answers)
	}
}

// remedy returns the flag that lets a station in which answers for the addresses.
func remedy(f filterFacts, answers []netip.Addr) string {
	for _, a := range answers {
		// It may also ask for ours under an address of its containers, which
		// says nothing of it for long.
		if !slices.ContainsFunc(f.planes, func(p backend.Plane) bool { return p.Network.Contains(a) }) {
			return "--peer-allow=" + a.String()
		}
	}
	if f.strict {
		return "--peer-filter=on"
	}
	return "--peer-filter=off"
}

// holder returns the peer in whose subnet the address is.
func holder(f filterFacts, a netip.Addr) (subnet.Claim, bool) {
	for _, p := range f.planes {
		for _, c := range p.Peers {
			if c.Subnet.Contains(a) {
				return c, true
			}
		}
	}
	return subnet.Claim{}, false
}
