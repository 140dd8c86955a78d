package main

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"flanneld/backend"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/netif"
	"flanneld/subnet"
)

const (
	// refusedGap is the time between two lines about one address.
	refusedGap = 10 * time.Minute
	// mostRefused is how many addresses are named in that time.
	mostRefused = 20
)

// tally makes of counters that may begin anew ones that only grow.
type tally struct{ last, sum map[string]uint64 }

func (t *tally) add(now map[string]uint64) {
	if t.last == nil {
		t.last, t.sum = make(map[string]uint64), make(map[string]uint64)
	}
	for name, value := range now {
		if before := t.last[name]; value >= before {
			t.sum[name] += value - before
		} else { // the table was made anew
			t.sum[name] += value
		}
		t.last[name] = value
	}
}

// count looks at what was dropped. The first look sees what an earlier run left,
// which is not this one's.
func (g *guard) count() {
	now, err := g.kernel.Counters(g.names.filter())
	if err != nil {
		g.log.Debug("Cannot read the firewall's counters", "err", err)
		return
	}
	g.tallyMu.Lock()
	defer g.tallyMu.Unlock()
	first := g.tally.last == nil
	g.tally.add(now)
	if first {
		clear(g.tally.sum)
	}
}

// Counters returns what was dropped since the daemon started.
func (g *guard) Counters() []backend.Counter {
	g.count()
	g.tallyMu.Lock()
	defer g.tallyMu.Unlock()
	return []backend.Counter{
		{Name: "peers_refused_packets", Value: g.tally.sum[counterRefused]},
		{Name: "peers_spoofed_packets", Value: g.tally.sum[counterSpoofed]},
	}
}

// lookLocal finds out which subnets the underlay is in: they follow the host's
// addresses, other ones than that which the peers know included.
func (g *guard) lookLocal() {
	facts := g.known()
	if len(facts) == 0 {
		return
	}
	now, err := netif.Subnets(facts[0].underlay)
	if err != nil {
		return // it has gone, and nothing comes from there
	}
	g.mu.Lock()
	g.local = now
	g.mu.Unlock()
}

// tellRefused logs who was refused lately, and what to do if that was wrong.
func (g *guard) tellRefused(f filterFacts, t nft.Table) {
	for name, when := range g.refused {
		if time.Since(when) > refusedGap {
			delete(g.refused, name)
		}
	}
	for _, s := range t.Sets {
		if s.Remembers == 0 {
			continue
		}
		addrs, err := g.kernel.Remembered(t.ID, s.Name)
		if err != nil {
			g.log.Debug("Cannot read who was refused", "err", err)
			continue
		}
		for _, a := range addrs {
			if registered(f.planes, a) || !g.mayName(a.String()) {
				continue
			}
			if strings.HasPrefix(s.Name, setSpoofed) {
				g.log.Warn("Packets were dropped that came from the underlay with a source in the overlay that no other host has. "+
					"--peer-filter=off lets them in", "source", a)
				continue
			}
			g.log.Warn("Packets to the tunnel's port were dropped, since no lease publishes their source. If it is a host of this "+
				"network that is behind NAT or has several addresses, start flanneld here with --peer-allow="+a.String(), "source", a)
		}
	}
}

// mayName reports whether one that was refused is to be named now, and takes it for
// named then.
func (g *guard) mayName(who string) bool {
	if _, told := g.refused[who]; told || len(g.refused) >= mostRefused {
		return false
	}
	g.refused[who] = time.Now()
	return true
}

// registered reports whether packets from a are let in by now.
func registered(planes []backend.Plane, a netip.Addr) bool {
	return slices.ContainsFunc(planes, func(p backend.Plane) bool {
		return slices.ContainsFunc(p.Peers, func(c subnet.Claim) bool { return c.PublicIP == a || c.Subnet.Contains(a) })
	})
}
