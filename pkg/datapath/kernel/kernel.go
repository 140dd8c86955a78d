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
	"time"

	"github.com/vishvananda/netlink"

	"flanneld/pkg/datapath"
)

// Kernel implements datapath.Kernel. It is safe for concurrent use.
type Kernel struct{}

// Read implements datapath.Kernel.
func (Kernel) Read(_ context.Context, scope datapath.Scope) (datapath.State, error) {
	return undisturbed(func() (datapath.State, error) { return read(scope) })
}

// undisturbed takes a dump again a few times if a change interrupts it. On a host
// whose tables change all the time the last one has to do: what changed meanwhile
// comes with a notification of its own.
func undisturbed[T any](dump func() (T, error)) (T, error) {
	const (
		tries = 5
		pause = 2 * time.Millisecond
	)
	for try := 1; ; try++ {
		got, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
		if try == tries {
			return got, nil
		}
		<-time.After(pause)
	}
}

// LinkMTU returns the MTU in bytes of any link. The error is ENODEV if no link has
// the name.
func (Kernel) LinkMTU(_ context.Context, name string) (int, error) {
	link, err := linkByName(name)
	if err != nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, err)
	}
	return link.Attrs().MTU, nil
}
