package subnet

import (
	"context"
	"time"
)

// strays are leases of ours beside the one that is held: writes that were given
// up, and came late. Nobody else would remove them before they expire.
type strays struct {
	look bool          // there may be some
	due  time.Duration // when they are removed; zero: there are none
}

// tidy removes strays, some time after they were seen. A failure is not worth
// another try: they expire.
func (k *keeper) tidy(ctx context.Context) {
	if k.lease.Node == "" {
		return
	}
	now := k.up()
	if k.strays.look {
		k.strays.look = false
		if k.strays.due == 0 && len(k.astray(k.View.Leases())) > 0 {
			k.strays.due = now + k.retryMax/30
		}
	}
	if k.strays.due == 0 || now < k.strays.due {
		return
	}
	k.strays.due = 0
	bound, cancel := k.bound(ctx)
	defer cancel()
	leases, _, err := k.store.Leases(bound)
	if err != nil {
		k.Log.Debug("Leave late leases to expire", "err", err)
		return
	}
	for _, l := range k.astray(leases) {
		if err := k.store.Delete(bound, l); err != nil {
			k.Log.Debug("Leave a late lease to expire", "subnet", l.Key(), "err", err)
			continue
		}
		k.Log.Warn("Deleted a lease of this host's that it does not use: its write had been given up, and came late", "subnet", l.Key())
	}
}

// astray returns the leases that may be deleted: with our id and address, and a
// life that is long enough for nobody else to have the key before we are done.
func (k *keeper) astray(leases []Lease) []Lease {
	_, wall := k.Clock()
	var all []Lease
	for _, l := range leases {
		if l.Key() != k.lease.Key() && l.Node == k.lease.Node && k.whose(l) == ours &&
			!l.Reserved() && l.Expires.Sub(wall) > k.ttl/4 {
			all = append(all, l)
		}
	}
	return all
}
