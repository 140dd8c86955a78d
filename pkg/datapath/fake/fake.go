// Package fake is a datapath.Kernel in memory, as strict as the kernel where
// that is what goes wrong on hosts: no route without a link or to a gateway out
// of reach, nothing survives its link, a link set down drops its routes and
// neighbours. It knows no packets.
package fake

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"flanneld/pkg/datapath"
)

// Kernel implements datapath.Kernel. It is safe for concurrent use.
type Kernel struct {
	// Fail, if not nil, is asked before each operation; its error is the
	// operation's. It must not call the Kernel. Set it before the Kernel is used.
	Fail func(datapath.Op) error

	mu     sync.Mutex
	tables tables
}

// New returns a kernel with one interface, eth0, that is up and has the
// addresses, if any.
func New(underlay ...netip.Prefix) *Kernel {
	k := new(Kernel)
	k.AddLink("eth0", underlay...)
	return k
}

// AddLink adds an interface that somebody else made and set up, as a network
// card is.
func (k *Kernel) AddLink(name string, addrs ...netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tables.Links = append(k.tables.Links, datapath.Link{Name: name, Kind: "veth", Up: true, MTU: 1500, MAC: k.tables.newMAC()})
	for _, a := range addrs {
		_ = k.tables.setAddr(datapath.Addr{Link: name, Prefix: a}) // the link is there
	}
}

// Read implements datapath.Kernel.
func (k *Kernel) Read(ctx context.Context, s datapath.Scope) (datapath.State, error) {
	if err := ctx.Err(); err != nil {
		return datapath.State{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var have datapath.State
	owned := make(map[string]bool)
	for _, l := range k.tables.Links {
		if s.OwnsLink(l.Name, l.Alias) {
			owned[l.Name] = true
			have.Links = append(have.Links, l)
		}
	}
	have.Addrs = keep(k.tables.Addrs, func(a datapath.Addr) bool { return owned[a.Link] })
	have.FDB = keep(k.tables.FDB, func(e datapath.FDBEntry) bool { return owned[e.Link] })
	have.Neighs = keep(k.tables.Neighs, func(n datapath.Neigh) bool { return owned[n.Link] })
	have.Filters = keep(k.tables.Filters, func(f datapath.Filter) bool { return s.Owner != "" && f.Owner == s.Owner })
	for _, r := range k.tables.Routes {
		if r, ok := s.Route(r, owned[r.Link]); ok {
			have.Routes = append(have.Routes, r)
		}
	}
	return have, nil
}

// Do implements datapath.Kernel.
func (k *Kernel) Do(ctx context.Context, ops []datapath.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, op := range ops {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		var err error
		if k.Fail != nil {
			err = k.Fail(op)
		}
		if err == nil {
			err = k.tables.do(op)
		}
		if err != nil {
			errs = append(errs, &datapath.OpError{Op: op, Err: err})
		}
	}
	return errors.Join(errs...)
}

// NextHops answers as the kernel's routing would that has the main table only, and so no rules for sources:
// the longest prefix wins, then the lowest metric. See the package kernel.
func (k *Kernel) NextHops(ctx context.Context, scope datapath.Scope, _, dsts []netip.Addr) ([]datapath.NextHop, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	table := allRoutes(&k.tables.State)
	hops := make([]datapath.NextHop, len(dsts))
	for i, dst := range dsts {
		hops[i] = nextHopTo(&k.tables.State, dst, table, scope)
	}
	return hops, nil
}

// LinkMTU returns the MTU of a link, whosever it is.
func (k *Kernel) LinkMTU(_ context.Context, name string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := find(k.tables.Links, name)
	if l == nil {
		return 0, fmt.Errorf("get MTU of %s: %w", name, errNoLink)
	}
	return l.MTU, nil
}

// Hand carries out an operation as an administrator would, whatever Fail says.
func (k *Kernel) Hand(op datapath.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tables.do(op)
}

// SetUp sets a link up or down.
func (k *Kernel) SetUp(link string, up bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := find(k.tables.Links, link)
	if l == nil {
		return errNoLink
	}
	k.tables.setUp(l, up)
	return nil
}

// String returns the commands that would make the whole state, sorted within
// each table.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, lines := range [][]string{
		commands(k.tables.Links, datapath.Make), commands(k.tables.Addrs, datapath.Set),
		commands(k.tables.FDB, datapath.Set), commands(k.tables.Neighs, datapath.Set),
		commands(k.tables.Routes, datapath.Set), commands(k.tables.Filters, datapath.Set),
	} {
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func commands[T datapath.Object](table []T, v datapath.Verb) (lines []string) {
	for _, o := range table {
		lines = append(lines, datapath.Op{Verb: v, Object: o}.String())
	}
	return lines
}

// keep returns a new slice of what f accepts.
func keep[T any](table []T, f func(T) bool) (kept []T) {
	for _, o := range table {
		if f(o) {
			kept = append(kept, o)
		}
	}
	return kept
}
