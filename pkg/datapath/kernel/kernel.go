//go:build linux

// Package kernel carries datapath operations out over rtnetlink, in the network
// namespace of the calling thread. Links go through the netlink library;
// addresses, entries and routes, of which there are thousands, are sent many
// to a system call.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"flanneld/pkg/datapath"
)

// Kernel implements datapath.Kernel. It is safe for concurrent use.
type Kernel struct {
	log *slog.Logger
	seq sequence
}

// New returns a Kernel; it opens nothing yet.
func New(log *slog.Logger) *Kernel { return &Kernel{log: log} }

// dumpTries bounds how often an interrupted dump is taken again, after dumpPause:
// on a host whose tables change all the time the last one has to do.
const (
	dumpTries = 5
	dumpPause = 2 * time.Millisecond
)

// Read implements datapath.Kernel.
func (k *Kernel) Read(ctx context.Context, scope datapath.Scope) (datapath.State, error) {
	for try := 1; ; try++ {
		state, err := readOnce(&k.seq, scope)
		if !errors.Is(err, errInterrupted) || try == dumpTries {
			if errors.Is(err, errInterrupted) {
				err = nil // what changed meanwhile comes with a notification of its own
			}
			return state, err
		}
		select {
		case <-ctx.Done():
			return datapath.State{}, ctx.Err()
		case <-time.After(dumpPause):
		}
	}
}

// Do implements datapath.Kernel.
func (k *Kernel) Do(ctx context.Context, ops []datapath.Op) error { return do(ctx, &k.seq, ops) }

// LinkMTU returns the MTU in bytes of any link. The error is ENODEV if no link has
// the name.
func (k *Kernel) LinkMTU(_ context.Context, name string) (int, error) {
	s, err := open()
	if err != nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, err)
	}
	defer s.close()
	_, mtu, err := s.link(name)
	if err != nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, err)
	}
	return mtu, nil
}

// NextHops asks the kernel's routing, all rules and tables included, where packets to
// the destinations go, and answers in their order. The NextHop is zero for a
// destination that cannot be reached, that is an address of this host, or that is
// reached through a link of the scope or by an encapsulating route: a tunnel cannot
// run over these.
func (k *Kernel) NextHops(ctx context.Context, scope datapath.Scope, dsts []netip.Addr) ([]datapath.NextHop, error) {
	return nextHops(ctx, scope, dsts)
}

// Watch puts a token into wake, which has capacity one, whenever something changes
// that the scope covers or that concerns the named underlay interface, until ctx is
// done. A token means "look again": one comes at the start, since earlier changes went
// unseen, and one after a lost notification.
func (k *Kernel) Watch(ctx context.Context, scope datapath.Scope, underlay string, wake chan<- struct{}) error {
	return follow(ctx, scope, underlay, wake)
}
