package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// rules keeps what masquerades, forwards and passes Docker's rules, in iptables and in
// nftables. It is not safe for concurrent use.
type rules struct {
	policy Policy
	names  names
	run    iptables.Runner
	kernel nft.Kernel
	log    *slog.Logger

	tools       tools
	loggedMasq  bool // that there is masquerading
	loggedNoNFT bool // what is missed without nftables
}

// tools is what this host has to filter packets with.
type tools struct {
	iptables *iptables.Flavour // nil: none
	others   []iptables.Flavour
	nftables bool // the kernel has it
	chosen   time.Time
}

// rechoose is the time after which somebody may use the other iptables.
const rechoose = time.Minute

// apply makes the rules of the families, and returns what it changed.
func (r *rules) apply(ctx context.Context, families []family) (changes []string, err error) {
	if r.policy.Masquerade && !r.loggedMasq {
		r.loggedMasq = true
		r.log.Info("Setting up masking rules")
	}
	if err := r.choose(ctx); err != nil {
		return nil, err
	}
	s := switches{marks: r.tools.nftables, nftables: r.policy.NFTables || r.tools.iptables == nil}
	if !r.policy.PlainPorts && (s.nftables || r.tools.iptables.RandomFully()) {
		s.options = firewall.RandomFully
	}
	// New rules come before old ones go: the kernel would never masquerade a connection
	// that begins in between.
	steps := []func(context.Context, []family, switches) ([]string, error){r.applyIptables, r.applyNftables}
	if s.nftables {
		slices.Reverse(steps)
	}
	var errs []error
	for _, step := range steps {
		some, err := step(ctx, families, s)
		changes, errs = append(changes, some...), append(errs, err)
	}
	return changes, errors.Join(errs...)
}

func (r *rules) applyIptables(ctx context.Context, families []family, s switches) (changes []string, err error) {
	if r.tools.iptables == nil {
		return nil, nil
	}
	var errs []error
	for _, v6 := range []bool{false, true} {
		networks, own := ofFamily(v6, r.policy.Networks...), ofFamily(v6, r.policy.Previous...)
		if len(networks) == 0 {
			continue
		}
		var want iptables.Want
		for _, f := range families {
			if f.v6() == v6 {
				want = f.iptablesRules(r.policy, r.names, s)
				own = append(own, f.own)
			}
		}
		owner := r.names.owner(networks, own, r.policy.Forward)
		tables := iptables.Tables{Run: r.run, Flavour: *r.tools.iptables}
		if v6 {
			tables.Family = iptables.IPv6
		}
		edits, err := tables.Apply(ctx, want, owner)
		errs = append(errs, err)
		for _, other := range r.tools.others {
			tables.Flavour = other
			more, err := tables.Apply(ctx, iptables.Want{}, owner)
			if err != nil {
				// Nobody may be using it, and it may not work at all.
				r.log.Debug("Cannot look for left-over rules", "iptables", other, "err", err)
			}
			edits = append(edits, more...)
		}
		for _, e := range edits {
			changes = append(changes, e.String())
		}
	}
	return changes, errors.Join(errs...)
}

// applyNftables keeps the families' own rules in nftables, or out of it.
func (r *rules) applyNftables(_ context.Context, families []family, s switches) (changes []string, err error) {
	if !r.tools.nftables {
		return nil, nil
	}
	wanted := map[bool]family{}
	if s.nftables {
		for _, f := range families {
			wanted[f.v6()] = f
		}
	}
	var errs []error
	for _, v6 := range []bool{false, true} {
		t := nft.Table{ID: r.names.table(v6)}
		if f, ok := wanted[v6]; ok {
			t.Chains = f.nftablesChains(r.policy, s.options)
		}
		some, err := r.kernel.Apply(t)
		changes, errs = append(changes, some...), append(errs, err)
	}
	return changes, errors.Join(errs...)
}

// choose finds out now and then what there is to filter with.
func (r *rules) choose(ctx context.Context) error {
	first := r.tools.chosen.IsZero()
	if !first && time.Since(r.tools.chosen) < rechoose {
		r.tools.others = nil // looked at when they were found
		return nil
	}
	before := r.tools
	now := tools{nftables: r.supported(), chosen: time.Now()}
	use, others, err := iptables.Choose(ctx, r.run, dockerUser, "DOCKER")
	switch {
	case err == nil:
		now.iptables, now.others = &use, others
	case !errors.Is(err, iptables.ErrNone):
		return err
	}
	if !now.nftables && (now.iptables == nil || r.policy.NFTables) {
		if r.policy.Masquerade {
			return fmt.Errorf("masquerade: %w, and there is no iptables that could be used (install it, or leave out --ip-masq)", nft.ErrUnsupported)
		}
		if first {
			r.log.Warn("There is neither iptables nor nftables: no rules for the firewall are made", "err", err)
		}
	}
	r.tools = now
	switch {
	case r.policy.NFTables || now.iptables == nil:
		if first && now.nftables {
			r.log.Info("Rules are made with nftables", "EnableNFTables", r.policy.NFTables, "iptables", now.iptables != nil)
		}
	case first || before.iptables == nil || *before.iptables != use:
		r.log.Info("Rules are made with iptables", "flavour", use)
	}
	return nil
}

// supported reports whether the kernel has nftables, and logs once what is missed
// without.
func (r *rules) supported() bool {
	err := r.kernel.Supported()
	if err != nil && !r.policy.Filter.Off && !r.loggedNoNFT {
		r.loggedNoNFT = true
		r.log.Error("The tunnel accepts packets from any sender: "+
			"the filter needs nftables (load the kernel's module nf_tables)", "err", err)
	}
	return err == nil
}
