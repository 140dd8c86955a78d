package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
)

// removeTries is the number of passes while others change rules.
const removeTries = 3

// Removal is what of a host's packet filter daemons have put there.
type Removal struct {
	Changes []string // what was removed, as one would have typed it; or would be
	Skipped []string // what could not be looked at, and why
}

// Remove takes out of this host's packet filter what daemons have put there, whatever
// their --etcd-prefix: a rule's name says whose it is. Dry, it only tells. It returns an error
// if something of a daemon's is left. A daemon that runs puts its rules back.
func Remove(ctx context.Context, dry bool) (r Removal, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove rules: %w", err)
		}
	}()
	if dry {
		err = r.once(ctx, true)
		return r, err
	}
	for range removeTries {
		r.Skipped = nil
		if err = r.once(ctx, false); err == nil || ctx.Err() != nil {
			break
		}
	}
	return r, err
}

// once makes one pass.
func (r *Removal) once(ctx context.Context, dry bool) error {
	err := r.iptables(ctx, dry)
	var kernel nft.Kernel
	if errors.Is(kernel.Supported(), nft.ErrUnsupported) {
		return err
	}
	tables, listErr := kernel.Tables()
	errs := []error{err, listErr}
	for _, id := range tables {
		switch {
		case !ownTable(id):
		case dry:
			r.Changes = append(r.Changes, "nft delete table "+id.String())
		default:
			changes, err := kernel.Apply(nft.Table{ID: id})
			r.Changes, errs = append(r.Changes, changes...), append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *Removal) iptables(ctx context.Context, dry bool) error {
	flavours, err := iptables.Choose(ctx, iptables.Exec)
	if errors.Is(err, iptables.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, flavour := range flavours {
		for _, v6 := range []bool{false, true} {
			tables := iptables.Tables{Run: iptables.Exec, Flavour: flavour, V6: v6}
			have, err := tables.Read(ctx)
			if err != nil {
				// The kernel may have no such tables, or no IPv6.
				r.Skipped = append(r.Skipped, fmt.Sprintf("%s: %v", tables, err))
				continue
			}
			for _, table := range []string{"nat", "filter", "raw"} {
				if err := have.Unreadable(table); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", tables, err))
				}
			}
			edits, err := remove(ctx, tables, have, dry)
			errs = append(errs, err)
			for _, e := range edits {
				r.Changes = append(r.Changes, fmt.Sprintf("%s %s", tables, e))
			}
		}
	}
	return errors.Join(errs...)
}

// remove returns what it has removed of tables, or dry, what it would.
func remove(ctx context.Context, tables iptables.Tables, have iptables.Ruleset, dry bool) ([]iptables.Edit, error) {
	if dry {
		return slices.Concat(iptables.Diff(iptables.Want{}, have, everything())...), nil
	}
	return tables.Apply(ctx, iptables.Want{}, everything())
}
