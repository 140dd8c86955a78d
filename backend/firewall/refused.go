package firewall

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/pkg/firewall/nft"
	"flanneld/subnet"
)

const (
	refusedGap  = 10 * time.Minute // the time between two lines about one address
	mostRefused = 20               // the most addresses that are named in that time
)

// refusals logs which senders were refused.
type refusals struct {
	kernel nft.Kernel
	log    *slog.Logger
	named  map[netip.Addr]time.Time // when the log last named an address
}

// tell logs who was refused lately, and what to do if that was wrong.
func (r *refusals) tell(t nft.Table, overlays []overlay) {
	for a, when := range r.named {
		if time.Since(when) > refusedGap {
			delete(r.named, a)
		}
	}
	for _, s := range t.Sets {
		if s.Remembers == 0 {
			continue
		}
		addrs, _ := r.kernel.Remembered(t.ID, s.Name) // the next pass may see them
		for _, a := range addrs {
			astray := strings.HasPrefix(s.Name, setAstray)
			switch {
			case !astray && registered(overlays, a) || !r.mayName(a):
			case astray:
				r.log.Warn("Packets were dropped that came by an interface which does not lead to their source, another host or "+
					"what is in its subnet. They are forged, or a route to the source by that interface is missing here. "+
					"--peer-filter=off lets them in", "source", a)
			case strings.HasPrefix(s.Name, setSpoofed):
				r.log.Warn("Packets were dropped that came from outside with a source in the overlay that no other host has. "+
					"--peer-filter=off lets them in", "source", a)
			default:
				r.log.Warn("Packets to the tunnel's port were dropped, since no lease publishes their source. If it is a host of this "+
					"network that is behind NAT or has several addresses, start flanneld here with --peer-allow="+a.String(), "source", a)
			}
		}
	}
}

// mayName reports whether a refused address is due in the log, and then takes it for
// named.
func (r *refusals) mayName(a netip.Addr) bool {
	if _, named := r.named[a]; named || len(r.named) >= mostRefused {
		return false
	}
	if r.named == nil {
		r.named = make(map[netip.Addr]time.Time)
	}
	r.named[a] = time.Now()
	return true
}

// registered reports whether packets from a are let in by now.
func registered(overlays []overlay, a netip.Addr) bool {
	return slices.ContainsFunc(overlays, func(o overlay) bool {
		return slices.ContainsFunc(o.peers, func(c subnet.Claim) bool { return c.PublicIP == a || c.Subnet.Contains(a) })
	})
}

// dropped counts what the filter has dropped.
type dropped struct {
	id     nft.ID
	kernel nft.Kernel

	mu        sync.Mutex
	last, sum map[string]uint64 // by counter; nil before the first look
}

// look reads the counters. What they have at the first look is an earlier run's.
func (d *dropped) look() {
	now, err := d.kernel.Counters(d.id)
	if err != nil {
		return // the next look has all
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.last == nil
	d.add(now)
	if first {
		clear(d.sum)
	}
}

// add makes sums that only grow of counters that may begin anew.
func (d *dropped) add(now map[string]uint64) {
	if d.last == nil {
		d.last, d.sum = make(map[string]uint64), make(map[string]uint64)
	}
	for name, value := range now {
		before := d.last[name]
		if value < before { // the table was made anew
			before = 0
		}
		d.sum[name] += value - before
		d.last[name] = value
	}
}

func (d *dropped) counters() []backend.Counter {
	d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	return []backend.Counter{
		{Name: "peers_refused_packets", Value: d.sum[counterRefused]},
		{Name: "peers_spoofed_packets", Value: d.sum[counterSpoofed]},
	}
}
