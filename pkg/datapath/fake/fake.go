// Package fake is a datapath.Kernel in memory, as strict as the kernel where
// that is what goes wrong on hosts: no route without a link or to a gateway out
// of reach, nothing survives its link, a link set down drops its routes and
// neighbours. It knows no packets.
package fake

import (
	"context"
	"errors"
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

	mu    sync.Mutex
	made  int // links so far, for their MACs
	state datapath.State
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
	k.state.Links = append(k.state.Links, datapath.Link{Name: name, Kind: "veth", Up: true, MTU: 1500, MAC: k.newMAC()})
	for _, a := range addrs {
		_ = k.setAddr(datapath.Addr{Link: name, Prefix: a}) // the link is there
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
	for _, l := range k.state.Links {
		if s.OwnsLink(l.Name, l.Alias) {
			owned[l.Name] = true
			have.Links = append(have.Links, l)
		}
	}
	have.Addrs = keep(k.state.Addrs, func(a datapath.Addr) bool { return owned[a.Link] })
	have.FDB = keep(k.state.FDB, func(e datapath.FDBEntry) bool { return owned[e.Link] })
	have.Neighs = keep(k.state.Neighs, func(n datapath.Neigh) bool { return owned[n.Link] })
	for _, r := range k.state.Routes {
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
		if err := k.do(op); err != nil {
			errs = append(errs, &datapath.OpError{Op: op, Err: err})
		}
	}
	return errors.Join(errs...)
}

// Hand carries out an operation as an administrator would, whatever Fail says.
func (k *Kernel) Hand(op datapath.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.carryOut(op)
}

// SetUp sets a link up or down.
func (k *Kernel) SetUp(link string, up bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.link(link)
	if l == nil {
		return errNoLink
	}
	k.setUp(l, up)
	return nil
}

// String returns the commands that would make the whole state, sorted within
// each table.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, lines := range [][]string{
		commands(k.state.Links, datapath.Make), commands(k.state.Addrs, datapath.Set),
		commands(k.state.FDB, datapath.Set), commands(k.state.Neighs, datapath.Set),
		commands(k.state.Routes, datapath.Set),
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
