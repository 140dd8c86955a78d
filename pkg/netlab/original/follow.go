package original

import (
	"context"
	"log"
	"net/netip"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// follower has the peers' routes made.
type follower struct {
	log   *log.Logger
	store *store
	plane plane
	own   netip.Prefix
	peers map[string]lease // by the key
}

// follow keeps the peers as etcd has them, until ctx ends.
func (f *follower) follow(ctx context.Context) {
	f.log.Print("Watching for new subnet leases")
	changes := make(chan change)
	var revision int64
	for {
		leases, at, err := f.store.leases(ctx)
		if err == nil {
			f.reset(leases)
			revision = at
			break
		}
		f.log.Print("Subnet watch failed: ", err)
		if wait(ctx, time.Second) != nil {
			return
		}
	}
	go f.store.watch(ctx, "", revision+1, changes)
	again := time.NewTicker(10 * time.Second)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			f.report(f.plane.again())
		case c := <-changes:
			f.follows(ctx, c)
		}
	}
}

func (f *follower) follows(ctx context.Context, c change) {
	if c.relist {
		f.log.Print("Watch of subnet leases failed because etcd index outside history window")
		if leases, _, err := f.store.leases(ctx); err == nil {
			f.reset(leases)
		}
		return
	}
	l, err := parseLease(c.key, c.value)
	if err != nil || c.failed != nil {
		// It takes this for a list of all leases that is empty. The release needs minutes
		// until the last route is gone.
		f.log.Printf("Watch of subnet leases failed because header revision != 0: %q", c.key)
		f.reset(nil)
		return
	}
	if l.subnet == f.own {
		return
	}
	if c.kind == mvccpb.DELETE {
		f.remove(l.key)
		return
	}
	f.log.Print("watchSubnets: got valid subnet event: ", l.subnet)
	f.add(l)
}

// reset makes the peers those of a list. What it has already it leaves as it is, though it
// may have changed.
func (f *follower) reset(all []lease) {
	for key := range f.peers {
		if !slices.ContainsFunc(all, func(l lease) bool { return l.key == key }) {
			f.remove(key)
		}
	}
	for _, l := range all {
		if _, known := f.peers[l.key]; !known && l.subnet != f.own {
			f.add(l)
		}
	}
}

func (f *follower) add(l lease) {
	f.log.Printf("Subnet added: %s via %s", l.subnet, l.attrs.PublicIP)
	f.peers[l.key] = l
	f.report(f.plane.add(l))
}

// remove removes what the stored lease says, since an event of a removal has no value.
func (f *follower) remove(key string) {
	l, known := f.peers[key]
	if !known {
		return
	}
	f.log.Print("Subnet removed: ", l.subnet)
	delete(f.peers, key)
	f.report(f.plane.remove(l))
}

func (f *follower) report(err error) {
	if err != nil {
		f.log.Print(err)
	}
}
