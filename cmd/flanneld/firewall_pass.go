package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// toolbox is what this host has to filter packets with.
type toolbox struct {
	iptables *iptables.Flavour // nil: none
	others   []iptables.Flavour
	nftables bool // the kernel has it
	chosen   time.Time
}

// rechoose is how often it is looked for who uses which iptables.
const rechoose = time.Minute

// pass puts every rule in place, and returns what it changed.
func (g *guard) pass(ctx context.Context, facts []overlayFacts) (changes []string, err error) {
	if err := g.choose(ctx); err != nil {
		return nil, err
	}
	s := ruleSwitches{masquerade: g.opts.IPMasq, forward: g.opts.ForwardRules, docker: g.opts.DockerFirewall,
		marks: g.tools.nftables, nftables: g.nftables || g.tools.iptables == nil}
	if !g.opts.MasqPlainPorts && (s.nftables || g.tools.iptables.RandomFully()) {
		s.options = firewall.RandomFully
	}
	// What comes to be before what goes: for a connection that begins in between, the
	// kernel would remember that it is not masqueraded.
	parts := []func(context.Context, []overlayFacts, ruleSwitches) ([]string, error){g.passIptables, g.passNftables, g.passFilter}
	if s.nftables {
		parts[0], parts[1] = parts[1], parts[0]
	}
	var errs []error
	for _, part := range parts {
		some, err := part(ctx, facts, s)
		changes, errs = append(changes, some...), append(errs, err)
	}
	return changes, errors.Join(errs...)
}

// passIptables does what there is to do with iptables.
func (g *guard) passIptables(ctx context.Context, facts []overlayFacts, s ruleSwitches) (changes []string, err error) {
	if g.tools.iptables == nil {
		return nil, nil
	}
	var errs []error
	for _, v6 := range []bool{false, true} {
		networks, own := ofFamily(v6, g.networks...), ofFamily(v6, g.previous...)
		if len(networks) == 0 {
			continue
		}
		var want iptables.Want
		for _, f := range facts {
			if f.network.Addr().Is6() == v6 {
				want = f.iptablesRules(g.names, s)
				own = append(own, f.own)
			}
		}
		owner := g.names.owner(networks, own, s.forward)
		tables := iptables.Tables{Run: g.run, Flavour: *g.tools.iptables}
		if v6 {
			tables.Family = iptables.IPv6
		}
		edits, err := tables.Apply(ctx, want, owner)
		errs = append(errs, err)
		for _, other := range g.tools.others {
			tables.Flavour = other
			more, err := tables.Apply(ctx, iptables.Want{}, owner)
			if err != nil {
				// Nobody may be using it, and it may not work at all.
				g.log.Debug("Cannot look for left-over rules", "iptables", other, "err", err)
			}
			edits = append(edits, more...)
		}
		for _, e := range edits {
			changes = append(changes, e.String())
		}
	}
	return changes, errors.Join(errs...)
}

// passNftables keeps the overlay's own rules in nftables, or out of it.
func (g *guard) passNftables(_ context.Context, facts []overlayFacts, s ruleSwitches) (changes []string, err error) {
	if !g.tools.nftables {
		return nil, nil
	}
	gone := g.names.tables()
	var errs []error
	for _, f := range facts {
		t, ok := f.nftablesRules(g.names, s)
		if !ok {
			continue
		}
		gone = slices.DeleteFunc(gone, func(id nft.ID) bool { return id == t.ID })
		some, err := g.apply(t)
		changes, errs = append(changes, some...), append(errs, err)
	}
	some, err := g.kernel.Delete(gone...)
	return append(changes, some...), errors.Join(append(errs, err)...)
}

// apply is for one that needs the kernel by itself.
func (g *guard) apply(t nft.Table) ([]string, error) {
	g.kernelMu.Lock()
	defer g.kernelMu.Unlock()
	return g.kernel.Apply(t)
}

// passFilter keeps strangers out, and says who they were.
func (g *guard) passFilter(_ context.Context, facts []overlayFacts, _ ruleSwitches) ([]string, error) {
	if !g.tools.nftables {
		return nil, nil
	}
	marks, err := g.dockerMarks()
	if err != nil {
		return nil, err
	}
	if marks && !g.saidMark {
		g.saidMark = true
		g.log.Warn(fmt.Sprintf("Docker uses nftables: start it with --allow-direct-routing --bridge-accept-fwmark=%#x/%#[1]x, or it drops what comes to containers from the overlay", dockerMark))
	}
	g.lookLocal()
	f, table, changes, err := g.filter(&marks)
	if err != nil {
		return changes, err
	}
	g.tellRefused(f, table)
	if !slices.Equal(g.built, facts) {
		err = g.removeRivals(table)
	}
	return changes, err
}

// removeRivals removes filters for the same tunnel, or the same Network on the same
// interface, under the names of another --etcd-prefix. Their daemon is gone, as two would
// not share a tunnel, and nobody lets later peers in there.
func (g *guard) removeRivals(t nft.Table) error {
	rivals, err := g.kernel.Alike(t, func(id nft.ID) bool { return id != g.names.filter() && id.Family == nft.Inet && ownTable(id) })
	if err != nil {
		return err
	}
	for _, id := range rivals {
		if _, err := g.kernel.Delete(id); err != nil {
			return err
		}
		g.log.Warn("Removed the filter that a flanneld with another --etcd-prefix left for this network", "table", id)
	}
	return nil
}

// dockerMarks reports whether packets have to be marked for Docker's own nftables.
func (g *guard) dockerMarks() (bool, error) {
	if !g.opts.DockerFirewall {
		return false, nil
	}
	there, err := g.kernel.Exists(nft.ID{Family: nft.IPv4, Name: "docker-bridges"}, nft.ID{Family: nft.IPv6, Name: "docker-bridges"})
	return slices.Contains(there, true), err
}

// filter makes the filter's table for the planes as they are known by now, and returns
// what others had changed of it. Marks says whether packets are marked for Docker; nil:
// as before, or at the start as Docker needs it.
func (g *guard) filter(marks *bool) (filterFacts, nft.Table, []string, error) {
	g.kernelMu.Lock()
	defer g.kernelMu.Unlock()
	if marks == nil && g.marks == nil {
		// An earlier run's marks stay: without them Docker would cut containers off.
		now, err := g.dockerMarks()
		if err != nil {
			return filterFacts{}, nft.Table{}, nil, err
		}
		marks = &now
	}
	if marks != nil {
		g.marks = marks
	}
	g.mu.Lock()
	f := filterFacts{planes: g.planes, facts: g.facts, allow: g.opts.PeerAllow, local: g.local, off: !g.opts.PeerFilter, mark: *g.marks,
		docker: g.opts.DockerFirewall}
	g.mu.Unlock()
	t, ok := filterTable(g.names.filter(), f)
	put := g.kernel.Apply
	if !ok {
		put = func(t nft.Table) ([]string, error) { return g.kernel.Delete(t.ID) }
	}
	changes, err := put(t)
	if len(changes) > 0 && !reflect.DeepEqual(g.made, t) {
		// It is another table that is wanted now; nobody has changed the last one.
		g.log.Debug("Changed the filter", "changes", changes)
		changes = nil
	}
	if err == nil {
		g.made = t
	} else if g.opts.PeerFilter {
		err = fmt.Errorf("keep strangers out: %w (the kernel's nf_tables may lack a part; --peer-filter=off does without)", err)
	}
	if !ok {
		t = nft.Table{}
	}
	return f, t, changes, err
}

// choose finds out what there is to filter with, now and then.
func (g *guard) choose(ctx context.Context) error {
	if !g.tools.chosen.IsZero() && time.Since(g.tools.chosen) < rechoose {
		g.tools.others = nil // looked at when they were found
		return nil
	}
	before, first := g.tools, g.tools.chosen.IsZero()
	tools := toolbox{nftables: g.supported(), chosen: time.Now()}
	use, others, err := iptables.Choose(ctx, g.run, dockerUser, "DOCKER")
	switch {
	case err == nil:
		tools.iptables, tools.others = &use, others
	case !errors.Is(err, iptables.ErrNone):
		return err
	}
	if !tools.nftables && (tools.iptables == nil || g.nftables) {
		if g.opts.IPMasq {
			return fmt.Errorf("masquerade: %w, and there is no iptables that could be used (install it, or leave out --ip-masq)", nft.ErrUnsupported)
		}
		if first {
			g.log.Warn("There is neither iptables nor nftables: no rules for the firewall are made", "err", err)
		}
	}
	g.tools = tools
	switch {
	case g.nftables || tools.iptables == nil:
		if first && tools.nftables {
			g.log.Info("Rules are made with nftables", "EnableNFTables", g.nftables, "iptables", tools.iptables != nil)
		}
	case first || before.iptables == nil || *before.iptables != use:
		g.log.Info("Rules are made with iptables", "flavour", use)
	}
	return nil
}

// supported reports whether the kernel has nftables, and says once what is missed
// without.
func (g *guard) supported() bool {
	err := g.kernel.Supported()
	if err != nil && g.opts.PeerFilter && !g.saidNone {
		g.saidNone = true
		g.log.Error("Packets are let in from anybody who sends some to the tunnel: "+
			"the filter needs nftables (load the kernel's module nf_tables)", "err", err)
	}
	return err == nil
}
