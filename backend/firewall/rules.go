package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"flanneld/pkg/firewall"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/logonce"
)

// rules keeps what masquerades, forwards and passes Docker's rules, in iptables and in
// nftables. It is not safe for concurrent use.
type rules struct {
	policy Policy
	names  names
	run    iptables.Runner
	kernel nft.Kernel
	log    *slog.Logger

	tools tools
	means logonce.Line // what rules are made with
	lacks logonce.Line // why there are no nftables
}

// tools is what this host has to filter packets with.
type tools struct {
	iptables []iptables.Flavour // the first is used, and the other looked through once; nil: none
	nftables bool               // the kernel has it
	chosen   time.Time
}

// rechoose is the time after which somebody may use the other iptables.
const rechoose = time.Minute

// apply makes the rules of the families, and returns what it changed.
func (r *rules) apply(ctx context.Context, families []family) (changes []string, err error) {
	if err := r.choose(ctx); err != nil {
		return nil, err
	}
	s := switches{marks: r.tools.nftables, nftables: r.policy.NFTables || len(r.tools.iptables) == 0}
	if !r.policy.PlainPorts && (s.nftables || r.tools.iptables[0].Since162()) {
		s.options = firewall.RandomFully
	}
	var errs []error
	for _, v6 := range []bool{false, true} {
		var f family // zero: there is nothing to be
		if i := slices.IndexFunc(families, func(f family) bool { return f.v6() == v6 }); i >= 0 {
			f = families[i]
		}
		// New rules come before old ones go: the kernel would never masquerade a connection
		// that begins in between.
		steps := []func(context.Context, bool, family, switches) ([]string, error){r.applyIptables, r.applyNftables}
		if s.nftables {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			some, err := step(ctx, v6, f, s)
			changes, errs = append(changes, some...), append(errs, err)
		}
	}
	return changes, errors.Join(errs...)
}

func (r *rules) applyIptables(ctx context.Context, v6 bool, f family, s switches) (changes []string, err error) {
	networks, own := ofFamily(v6, r.policy.Networks...), ofFamily(v6, append([]netip.Prefix{f.own}, r.policy.Previous...)...)
	if len(networks) == 0 {
		return nil, nil
	}
	var want iptables.Want
	if f != (family{}) {
		want = f.iptablesRules(r.policy, r.names, s)
	}
	for i, flavour := range r.tools.iptables {
		tables := iptables.Tables{Run: r.run, Flavour: flavour, V6: v6}
		edits, applyErr := tables.Apply(ctx, want, r.names.owner(networks, own, r.policy.Forward))
		if i == 0 { // nobody may be using the other one, and it may not work at all
			err = applyErr
		}
		for _, e := range edits {
			changes = append(changes, e.String())
		}
		want = iptables.Want{}
	}
	return changes, err
}

// applyNftables keeps a family's own rules in nftables, or out of it.
func (r *rules) applyNftables(_ context.Context, v6 bool, f family, s switches) ([]string, error) {
	if !r.tools.nftables {
		return nil, nil
	}
	t := nft.Table{ID: r.names.table(v6)}
	if s.nftables && f != (family{}) {
		t.Chains = f.nftablesChains(r.policy, s.options)
	}
	return r.kernel.Apply(t)
}

// choose finds out now and then what there is to filter with.
func (r *rules) choose(ctx context.Context) error {
	first := r.tools.chosen.IsZero()
	if !first && time.Since(r.tools.chosen) < rechoose {
		r.tools.iptables = r.tools.iptables[:min(1, len(r.tools.iptables))] // the other was looked at when it was found
		return nil
	}
	flavours, none := iptables.Choose(ctx, r.run, dockerUser, "DOCKER")
	if none != nil && !errors.Is(none, iptables.ErrNone) {
		return none
	}
	lacks := r.kernel.Supported()
	if lacks != nil && !errors.Is(lacks, nft.ErrUnsupported) {
		return lacks
	}
	if lacks != nil && !r.policy.Filter.Off && r.lacks.ChangedError(lacks) {
		r.log.Error("The tunnel accepts packets from any sender: "+
			"the filter needs nftables (load the kernel's module nf_tables)", "err", lacks)
	}
	if lacks != nil && (none != nil || r.policy.NFTables) {
		if r.policy.Masquerade {
			return fmt.Errorf("masquerade: %w, and there is no iptables that could be used (install it, or leave out --ip-masq)", lacks)
		}
		if first {
			r.log.Warn("There is neither iptables nor nftables: no firewall rules are made", "err", none)
		}
	}
	r.tools = tools{iptables: flavours, nftables: lacks == nil, chosen: time.Now()}
	switch {
	case r.policy.NFTables || none != nil:
		if lacks == nil && r.means.Changed("nftables") {
			r.log.Info("Rules are made with nftables", "EnableNFTables", r.policy.NFTables, "iptables", none == nil)
		}
	case r.means.Changed(flavours[0].String()):
		r.log.Info("Rules are made with iptables", "flavour", flavours[0])
	}
	return nil
}
