package firewall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/firewall/iptables"
	"flanneld/pkg/firewall/nft"
	"flanneld/pkg/netif"
)

const (
	// returnTime is longer than a running daemon on a busy host takes to put back
	// rules after the kernel has reported that they are gone.
	returnTime = 3 * time.Second
	// removeTries is the number of passes while others change rules.
	removeTries = 3
)

// Remove takes out of this host's packet filter what daemons have put there, whatever
// their --etcd-prefix: a rule's name says whose it is. It writes to out what it removed
// and what it could not look at. It returns an error if something of a daemon's is left,
// or is back soon after. Where nothing is, it changes nothing and does not wait.
func Remove(ctx context.Context, out io.Writer) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove rules: %w", err)
		}
	}()
	if err := netif.CheckPrivilege("flanneld"); err != nil {
		return err
	}
	removed := false
	for range removeTries {
		var changes []string
		changes, err = removeOnce(ctx, out)
		for _, c := range changes {
			fmt.Fprintln(out, c)
			removed = true
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if !removed || backoff.Sleep(ctx, returnTime) != nil {
		return ctx.Err()
	}
	changes, err := removeOnce(ctx, out)
	if err == nil && len(changes) > 0 {
		err = errors.New("they are back: a flanneld runs on this host (stop it first: systemctl stop flanneld)")
	}
	return err
}

// removeOnce returns what it removed, as one would have typed it.
func removeOnce(ctx context.Context, out io.Writer) ([]string, error) {
	changes, err := removeIptables(ctx, out)
	var kernel nft.Kernel
	if errors.Is(kernel.Supported(), nft.ErrUnsupported) {
		return changes, err
	}
	tables, listErr := kernel.Tables()
	errs := []error{err, listErr}
	for _, id := range tables {
		if ownTable(id) {
			some, err := kernel.Apply(nft.Table{ID: id})
			changes, errs = append(changes, some...), append(errs, err)
		}
	}
	return changes, errors.Join(errs...)
}

func removeIptables(ctx context.Context, out io.Writer) (changes []string, err error) {
	flavours, err := iptables.Choose(ctx, iptables.Exec)
	if errors.Is(err, iptables.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, flavour := range flavours {
		for _, v6 := range []bool{false, true} {
			tables := iptables.Tables{Run: iptables.Exec, Flavour: flavour, V6: v6}
			have, err := tables.Read(ctx)
			if err != nil {
				// The kernel may have no such tables, or no IPv6.
				fmt.Fprintf(out, "%s is not looked at: %v\n", tables, err)
				continue
			}
			for _, table := range []string{"nat", "filter", "raw"} {
				if err := have.Unreadable(table); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", tables, err))
				}
			}
			edits, err := tables.Apply(ctx, iptables.Want{}, everything())
			errs = append(errs, err)
			for _, e := range edits {
				changes = append(changes, fmt.Sprintf("%s %s", tables, e))
			}
		}
	}
	return changes, errors.Join(errs...)
}
