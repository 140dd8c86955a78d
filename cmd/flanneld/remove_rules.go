package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/netif"
)

// remover takes out of this host's packet filter what daemons have put there, of
// every --etcd-prefix that one had: a rule's name says whose it is, so that neither
// etcd nor the state directory is asked.
type remover struct {
	run    iptables.Runner
	kernel nft.Kernel
	out    io.Writer // gets what was removed, and what could not be looked at
}

const (
	// returnTime is longer than a daemon that runs takes to put rules back of which
	// the kernel tells it that they are gone, on a host that is busy.
	returnTime = 3 * time.Second
	// removeTries is how often it is tried while others change rules.
	removeTries = 3
)

// remove returns an error if something of a daemon's is left, or is back soon after.
// Where nothing is, it changes nothing and does not wait.
func (r *remover) remove(ctx context.Context) error {
	if err := netif.CheckPrivilege(); err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	changes, err := r.pass(ctx)
	for try := 1; err != nil && try < removeTries && ctx.Err() == nil; try++ {
		var more []string
		more, err = r.pass(ctx)
		changes = append(changes, more...)
	}
	for _, c := range changes {
		fmt.Fprintln(r.out, c)
	}
	if err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	if len(changes) == 0 || backoff.Sleep(ctx, returnTime) != nil {
		return ctx.Err()
	}
	if changes, err = r.pass(ctx); err == nil && len(changes) > 0 {
		err = errors.New("they are back: a flanneld runs on this host (stop it first: systemctl stop flanneld)")
	}
	if err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}

// pass looks once, and returns what it removed, as one would have typed it.
func (r *remover) pass(ctx context.Context) ([]string, error) {
	changes, err := r.passIptables(ctx)
	errs := []error{err}
	if r.kernel.Supported() == nil {
		tables, err := r.kernel.Tables()
		errs = append(errs, err)
		some, err := r.kernel.Delete(slices.DeleteFunc(tables, func(id nft.ID) bool { return !ownTable(id) })...)
		changes, errs = append(changes, some...), append(errs, err)
	}
	return changes, errors.Join(errs...)
}

func (r *remover) passIptables(ctx context.Context) (changes []string, err error) {
	use, others, err := iptables.Choose(ctx, r.run)
	if errors.Is(err, iptables.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, flavour := range append([]iptables.Flavour{use}, others...) {
		for _, program := range []struct {
			name   string
			family iptables.Family
		}{{"iptables", iptables.IPv4}, {"ip6tables", iptables.IPv6}} {
			tables := iptables.Tables{Run: r.run, Flavour: flavour, Family: program.family}
			have, err := tables.Read(ctx)
			if err != nil {
				// The kernel may have no such tables, or no IPv6.
				fmt.Fprintf(r.out, "%s (%s) is not looked at: %v\n", program.name, flavour, err)
				continue
			}
			for _, table := range []string{"nat", "filter", "raw"} {
				if err := have.Unreadable(table); err != nil {
					errs = append(errs, fmt.Errorf("%s (%s): %w", program.name, flavour, err))
				}
			}
			edits, err := tables.Apply(ctx, iptables.Want{}, ownerIn(have))
			errs = append(errs, err)
			for _, e := range edits {
				changes = append(changes, fmt.Sprintf("%s (%s) %s", program.name, flavour, e))
			}
		}
	}
	return changes, errors.Join(errs...)
}

// What daemons name what is theirs; see namesFor.
var (
	anyChain   = regexp.MustCompile(`^(` + chainPostrouting + `|` + chainForward + `)` + anySuffix + `$`)
	anyComment = regexp.MustCompile(`^` + commentDocker + anySuffix + `$`)
	anyTable   = regexp.MustCompile(`^(flanneld|flannel-ipv4|flannel-ipv6)` + anySuffix + `$`)
)

const anySuffix = `(-[0-9a-f]{8})?`

// ownerIn returns the owner of all that a daemon has among the rules. What older
// releases left there is not: a daemon has taken it over, or never ran.
func ownerIn(have iptables.Ruleset) (o iptables.Owner) {
	for _, table := range have {
		for name, entries := range table {
			if anyChain.MatchString(name) {
				o.Chains = append(o.Chains, name)
			}
			for _, e := range entries {
				if anyComment.MatchString(e.Rule.Comment) {
					o.Comments = append(o.Comments, e.Rule.Comment)
				}
			}
		}
	}
	return o
}

// ownTable reports whether a table is a daemon's.
func ownTable(id nft.ID) bool {
	m := anyTable.FindStringSubmatch(id.Name)
	if m == nil {
		return false
	}
	n := firewallNames{suffix: m[2]}
	return id == n.filter() || slices.Contains(n.tables(), id)
}
