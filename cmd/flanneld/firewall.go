package main

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/cmd/internal/host"
	"flanneld/pkg/backoff"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// guard is this host's packet filter: it keeps the rules in it as they have to be.
type guard struct {
	opts     options
	names    firewallNames
	networks []netip.Prefix   // this daemon's, now and before
	previous []netip.Prefix   // this host's subnets before
	nftables bool             // the configuration's EnableNFTables
	underlay backend.Underlay // of the goroutine that tells of planes; others have its name from facts
	run      iptables.Runner
	kernel   nft.Kernel
	log      *slog.Logger

	first chan struct{} // has a token after the first pass that put all in place
	poked chan struct{} // facts may have changed

	mu     sync.Mutex
	planes []backend.Plane
	facts  []overlayFacts // of the planes; nil: not known yet
	local  []netip.Prefix // the underlay's own subnets, as they last were

	done bool // all was in place once
	off  bool // no rule can be made

	kernelMu sync.Mutex // one at a time applies to the kernel
	marks    *bool      // packets are marked for Docker; nil: not known yet
	made     nft.Table  // the filter's table as it last was put in place

	beginning sync.Once // the first look at what an earlier run left
	tallyMu   sync.Mutex
	tally     tally

	// Only Run's goroutine uses these.
	tools                        toolbox
	saidMark, saidNone, saidMasq bool
	refused                      map[string]time.Time // who was named when
	passed                       bool
	built                        []overlayFacts // what the rules in place were made for
	said                         string         // the last error
	repairs                      int            // not logged yet
	example                      string         // of them
	told                         time.Time      // when some were last logged
}

const (
	// leastGap is the least time between two passes that others' changes make.
	leastGap = 250 * time.Millisecond
	// mostGap bounds how long a change can wait where passes take long.
	mostGap = time.Second
	// tellGap is the time between two lines about repairs.
	tellGap = time.Minute
)

func newGuard(o options, nftables bool, underlay backend.Underlay, networks []netip.Prefix, previous host.SubnetEnv, log *slog.Logger) *guard {
	return &guard{
		opts: o, names: namesFor(o.EtcdPrefix), networks: networks, previous: []netip.Prefix{previous.Subnet, previous.SubnetV6},
		nftables: nftables, underlay: underlay, refused: make(map[string]time.Time),
		run: iptables.Exec, log: log, poked: make(chan struct{}, 1), first: make(chan struct{}, 1),
	}
}

// Admit implements loop.Firewall.
func (g *guard) Admit(ctx context.Context, planes []backend.Plane, ingress []backend.Ingress) error {
	g.update(planes, ingress)
	g.mu.Lock()
	off := g.off
	g.mu.Unlock()
	if off {
		return nil
	}
	g.beginning.Do(g.count)
	_, _, _, err := g.filter(nil)
	if err != nil && g.kernel.Supported() != nil {
		return nil // which a pass says
	}
	return err
}

// update tells the guard of planes, and how packets of theirs come in.
func (g *guard) update(planes []backend.Plane, ingress []backend.Ingress) {
	facts := make([]overlayFacts, 0, len(planes))
	for i, p := range planes {
		facts = append(facts, overlayFacts{network: p.Network, own: p.Subnet, underlay: g.underlay.Name, ingress: ingress[i]})
	}
	g.mu.Lock()
	changed := !slices.Equal(g.facts, facts)
	g.planes, g.facts = planes, facts
	g.mu.Unlock()
	if changed {
		g.lookLocal()
		g.poke()
	}
}

func (g *guard) poke() { poke(g.poked) }

// Run makes passes until ctx is done: when there are other facts, when somebody has
// changed rules and the kernel says so, and every --iptables-resync.
func (g *guard) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		if err := g.kernel.Watch(ctx, g.poked); err != nil {
			g.log.Debug("Changes of others to the firewall are noticed at the next resync only", "err", err)
		}
	})
	retry := backoff.Backoff{Min: 500 * time.Millisecond, Max: max(g.opts.FirewallResync, time.Second)}
	for {
		wait := g.opts.FirewallResync
		if facts := g.known(); facts != nil {
			start := time.Now()
			changes, err := g.pass(ctx, facts)
			if ctx.Err() != nil {
				return nil
			}
			g.report(facts, changes, err)
			if err != nil {
				wait = min(wait, retry.Next())
			} else {
				retry.Reset()
				g.built = facts
				if !g.passed {
					g.passed = true
					g.setInPlace()
				}
			}
			if backoff.Sleep(ctx, min(max(leastGap, 10*time.Since(start)), mostGap)) != nil {
				return nil
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-g.poked:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// disable says why no rule can be made, and waits for none.
func (g *guard) disable(why error) {
	g.log.Warn("No rules for the firewall are made", "err", why)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.off, g.done = true, true
}

// InPlace implements loop.Firewall.
func (g *guard) InPlace() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.done
}

func (g *guard) setInPlace() {
	g.mu.Lock()
	g.done = true
	g.mu.Unlock()
	g.first <- struct{}{}
}

func (g *guard) known() []overlayFacts {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.off {
		return nil
	}
	return slices.Clone(g.facts)
}

// report logs how a pass for these facts went.
func (g *guard) report(facts []overlayFacts, changes []string, err error) {
	switch {
	case err != nil && err.Error() != g.said:
		g.log.Error("Firewall is not as it should be; trying again", "err", err)
		g.said = err.Error()
	case err == nil && g.said != "":
		g.log.Info("Firewall is in step again")
		g.said = ""
	}
	for _, c := range changes {
		g.log.Debug("Changed a rule", "rule", c)
	}
	if g.opts.IPMasq && !g.saidMasq {
		g.saidMasq = true
		g.log.Info("Setting up masking rules")
	}
	if !slices.Equal(g.built, facts) {
		return // nobody has removed what was not asked for before
	}
	if len(changes) > 0 && g.repairs == 0 {
		g.example = changes[0]
	}
	g.repairs += len(changes)
	if g.repairs == 0 || !g.told.IsZero() && time.Since(g.told) < tellGap {
		return
	}
	g.log.Info("Some iptables rules are missing; deleting and recreating rules", "changes", g.repairs, "first", g.example)
	g.repairs, g.told = 0, time.Now()
}
