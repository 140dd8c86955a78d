package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"flanneld/backend"
	"flanneld/pkg/backoff"
	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
)

// guard is this host's packet filter: it keeps the rules in it as they have to be.
type guard struct {
	opts     options
	names    firewallNames
	networks []netip.Prefix // this daemon's, now and before
	previous []netip.Prefix // this host's subnets before
	nftables bool           // the configuration's EnableNFTables
	underlay backend.Underlay
	run      iptables.Runner
	log      *slog.Logger

	first chan struct{} // has a token after the first pass that put all in place
	poked chan struct{} // facts may have changed

	mu    sync.Mutex
	facts []overlayFacts // nil: not known yet
	done  bool           // all was in place once
	off   bool           // no rule can be made

	// Only Run's goroutine uses these.
	tools   toolbox
	passed  bool
	said    string    // the last error
	repairs int       // not logged yet
	example string    // of them
	told    time.Time // when some were last logged
}

// toolbox is what this host has to filter packets with.
type toolbox struct {
	use    *iptables.Flavour // nil: none
	others []iptables.Flavour
	chosen time.Time
}

const (
	// rechoose is how often it is looked for who uses which iptables.
	rechoose = time.Minute
	// leastGap is the least time between two passes that others' changes make.
	leastGap = 250 * time.Millisecond
	// tellGap is the time between two lines about repairs.
	tellGap = time.Minute
)

func newGuard(o options, nftables bool, underlay backend.Underlay, networks []netip.Prefix, previous subnetEnv, log *slog.Logger) *guard {
	return &guard{
		opts: o, names: namesFor(o.EtcdPrefix), networks: networks, previous: []netip.Prefix{previous.subnet, previous.subnetV6},
		nftables: nftables, underlay: underlay, run: iptables.Exec, log: log, poked: make(chan struct{}, 1), first: make(chan struct{}, 1),
	}
}

// update tells the guard of planes, and how packets of theirs come in.
func (g *guard) update(planes []backend.Plane, be backend.Backend) {
	facts := make([]overlayFacts, 0, len(planes))
	for _, p := range planes {
		f := overlayFacts{network: p.Network, own: p.Subnet, underlay: g.underlay.Name}
		if r, ok := be.(backend.Receiving); ok {
			f.entrance = r.Entrance(p.Network.Addr().Is6())
		}
		facts = append(facts, f)
	}
	g.mu.Lock()
	changed := !slices.Equal(g.facts, facts)
	g.facts = facts
	g.mu.Unlock()
	if changed {
		g.poke()
	}
}

func (g *guard) poke() {
	select {
	case g.poked <- struct{}{}:
	default:
	}
}

// Run makes passes until ctx is done: when there are other facts, when somebody has
// changed rules and the kernel says so, and every --iptables-resync.
func (g *guard) Run(ctx context.Context) error {
	retry := backoff.Backoff{Min: 500 * time.Millisecond, Max: max(g.opts.FirewallResync, time.Second)}
	for {
		wait := g.opts.FirewallResync
		if facts := g.known(); facts != nil {
			start := time.Now()
			changes, err := g.pass(ctx, facts)
			if ctx.Err() != nil {
				return nil
			}
			g.report(changes, err)
			if err != nil {
				wait = min(wait, retry.Next())
			} else {
				retry.Reset()
				if !g.passed {
					g.passed = true
					g.setInPlace()
				}
			}
			if backoff.Sleep(ctx, max(leastGap, 10*time.Since(start))) != nil {
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

// inPlace reports whether there was a pass that put all in place.
func (g *guard) inPlace() bool {
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

// pass puts every rule in place, and returns what it changed.
func (g *guard) pass(ctx context.Context, facts []overlayFacts) (changes []string, err error) {
	if err := g.choose(ctx); err != nil {
		return nil, err
	}
	if g.tools.use == nil {
		return nil, nil
	}
	var errs []error
	switches := ruleSwitches{masquerade: g.opts.IPMasq, forward: g.opts.ForwardRules, docker: g.opts.DockerFirewall}
	if g.tools.use.RandomFully() && !g.opts.MasqPlainPorts {
		switches.options = firewall.RandomFully
	}
	for _, v6 := range []bool{false, true} {
		at := slices.IndexFunc(facts, func(f overlayFacts) bool { return f.network.Addr().Is6() == v6 })
		var want iptables.Want
		own := ofFamily(v6, g.previous...)
		if at >= 0 {
			want = facts[at].iptablesRules(g.names, switches)
			own = append(own, facts[at].own)
		}
		networks := ofFamily(v6, g.networks...)
		if len(networks) == 0 {
			continue
		}
		owner := g.names.owner(networks, own, g.opts.ForwardRules)
		tables := iptables.Tables{Run: g.run, Flavour: *g.tools.use}
		if v6 {
			tables.Family = iptables.IPv6
		}
		edits, err := tables.Apply(ctx, want, owner)
		errs = append(errs, err)
		for _, e := range edits {
			changes = append(changes, e.String())
		}
		for _, other := range g.tools.others {
			tables.Flavour = other
			edits, err := tables.Apply(ctx, iptables.Want{}, owner)
			if err != nil {
				// Nobody may be using it, and it may not work at all.
				g.log.Debug("Cannot look for left-over rules", "iptables", other, "err", err)
			}
			for _, e := range edits {
				changes = append(changes, e.String())
			}
		}
	}
	return changes, errors.Join(errs...)
}

// choose finds out what there is to filter with, now and then.
func (g *guard) choose(ctx context.Context) error {
	if !g.tools.chosen.IsZero() && time.Since(g.tools.chosen) < rechoose {
		g.tools.others = nil // looked at when they were found
		return nil
	}
	use, others, err := iptables.Choose(ctx, g.run, dockerUser, "DOCKER")
	switch {
	case errors.Is(err, iptables.ErrNone):
		if g.opts.IPMasq {
			return fmt.Errorf("masquerade: %w (install iptables, or leave out --ip-masq)", err)
		}
		if g.tools.chosen.IsZero() {
			g.log.Warn("No rules for the firewall are made", "err", err)
		}
		g.tools = toolbox{chosen: time.Now()}
		return nil
	case err != nil:
		return err
	}
	if g.tools.use == nil || *g.tools.use != use {
		g.log.Info("Rules are made with iptables", "flavour", use)
	}
	g.tools = toolbox{use: &use, others: others, chosen: time.Now()}
	return nil
}

// report logs how a pass went.
func (g *guard) report(changes []string, err error) {
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
	if !g.passed {
		if g.opts.IPMasq {
			g.log.Info("Setting up masking rules")
		}
		return
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
