// Package kerneltest says what every datapath.Kernel must do: one suite for the
// real one and for the fake, so that tests that use the fake can be believed.
package kerneltest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"flanneld/pkg/datapath"
)

// Kernel is what is held to the suite.
type Kernel interface {
	datapath.Kernel
	NextHops(ctx context.Context, s datapath.Scope, sources, dsts []netip.Addr) ([]datapath.NextHop, error)
	LinkMTU(ctx context.Context, link string) (int, error)
}

// Host is the machine under a Kernel, as somebody else changes it. It has an
// interface eth0 that is up and has the addresses 192.0.2.1/24 and
// 2001:db8::1/64, and nothing else but loopback.
type Host interface {
	// Hand carries out an operation as an administrator would.
	Hand(op datapath.Op) error
	// SetUp sets any link up or down.
	SetUp(link string, up bool) error
}

// Run holds kernels to the suite. The function newKernel is called once per
// case, on the case's own goroutine, and makes a fresh kernel and host.
func Run(t *testing.T, newKernel func(t *testing.T) (Kernel, Host)) {
	for _, group := range []map[string]func(*fixture){
		linkCases, tunCases, entryCases, routeCases, failureCases, lookupCases,
	} {
		for name, run := range group {
			t.Run(name, func(t *testing.T) {
				k, host := newKernel(t)
				run(newFixture(t, k, host))
			})
		}
	}
}

// fixture is one case at work.
type fixture struct {
	*testing.T
	kernel Kernel
	host   Host
	scope  datapath.Scope

	reconciler datapath.Reconciler
}

func newFixture(t *testing.T, k Kernel, host Host) *fixture {
	f := &fixture{T: t, kernel: k, host: host, scope: datapath.Scope{
		Owner:    owner,
		Links:    []string{"vx.1", "vx6.1", "tun7"},
		Networks: []netip.Prefix{prefix("10.5.0.0/16"), prefix("fd00:5::/48")},
		Protocol: protocol,
	}}
	f.reconciler = datapath.Reconciler{Kernel: k, Log: slog.New(slog.DiscardHandler)}
	return f
}

const (
	owner    = "datapath test"
	protocol = 77
	boot     = 3 // RTPROT_BOOT: made by hand
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// mac returns a distinct unicast address.
func mac(n int) datapath.MAC { return datapath.MAC{0x0a, 0, 0, 0, byte(n >> 8), byte(n)} }

// tunnel4 is what a VXLAN host with two neighbours wants.
func tunnel4() datapath.State {
	s := datapath.State{
		Links: []datapath.Link{{
			Name: "vx.1", Kind: "vxlan", Alias: owner, Up: true, MTU: 1450, MAC: mac(1),
			VXLAN: datapath.VXLAN{VNI: 1, Parent: "eth0", Local: addr("192.0.2.1"), Port: 8472},
		}},
		Addrs: []datapath.Addr{{Link: "vx.1", Prefix: prefix("10.5.1.0/32")}},
	}
	for i := 2; i <= 3; i++ {
		gateway := netip.AddrFrom4([4]byte{10, 5, byte(i), 0})
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx.1", MAC: mac(i), Dst: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx.1", IP: gateway, MAC: mac(i)})
		s.Routes = append(s.Routes, datapath.Route{
			Dst: netip.PrefixFrom(gateway, 24), Gateway: gateway, Link: "vx.1", OnLink: true, Protocol: protocol,
		})
	}
	return s
}

// tunnel6 is the same over and for IPv6.
func tunnel6() datapath.State {
	s := datapath.State{
		Links: []datapath.Link{{
			Name: "vx6.1", Kind: "vxlan", Alias: owner, Up: true, MTU: 1430, MAC: mac(0x601),
			VXLAN: datapath.VXLAN{VNI: 6, Parent: "eth0", Local: addr("2001:db8::1"), Port: 8472, GBP: true},
		}},
		Addrs: []datapath.Addr{{Link: "vx6.1", Prefix: prefix("fd00:5:0:1::/128")}},
	}
	for i := 2; i <= 3; i++ {
		gateway := addr(fmt.Sprintf("fd00:5:0:%d::", i))
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx6.1", MAC: mac(0x600 + i), Dst: addr(fmt.Sprintf("2001:db8::%d", i))})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx6.1", IP: gateway, MAC: mac(0x600 + i)})
		s.Routes = append(s.Routes, datapath.Route{
			Dst: netip.PrefixFrom(gateway, 64), Gateway: gateway, Link: "vx6.1", OnLink: true, Metric: 1024, Protocol: protocol,
		})
	}
	return s
}

// gateways is what a host wants that routes over the underlay itself.
func gateways() datapath.State {
	return datapath.State{Routes: []datapath.Route{
		{Dst: prefix("10.5.12.0/24"), Gateway: addr("192.0.2.2"), Link: "eth0", Protocol: protocol},
		{Dst: prefix("10.5.13.0/24"), Gateway: addr("192.0.2.3"), Link: "eth0", Protocol: protocol},
		{Dst: prefix("fd00:5:0:12::/64"), Gateway: addr("2001:db8::2"), Link: "eth0", Metric: 1024, Protocol: protocol},
	}}
}

func join(states ...datapath.State) (all datapath.State) {
	for _, s := range states {
		all.Links = append(all.Links, s.Links...)
		all.Addrs = append(all.Addrs, s.Addrs...)
		all.FDB = append(all.FDB, s.FDB...)
		all.Neighs = append(all.Neighs, s.Neighs...)
		all.Routes = append(all.Routes, s.Routes...)
	}
	return all
}

// tryApply reconciles once and returns the number of operations.
func (f *fixture) tryApply(want datapath.State) (int, error) {
	f.reconciler.Scope = f.scope
	return f.reconciler.Apply(f.Context(), want)
}

// apply reconciles, and then holds the kernel to what was wanted and to having
// nothing left to do.
func (f *fixture) apply(want datapath.State) int {
	f.Helper()
	n, err := f.tryApply(want)
	if err != nil {
		f.Fatalf("Apply: %v", err)
	}
	f.expect(want)
	if again, err := f.tryApply(want); again != 0 || err != nil {
		f.Errorf("second Apply: %d operations, %v; want none: %s", again, err, datapath.Diff(want, f.read()))
	}
	return n
}

func (f *fixture) read() datapath.State {
	f.Helper()
	s, err := f.kernel.Read(f.Context(), f.scope)
	if err != nil {
		f.Fatalf("Read: %v", err)
	}
	return s
}

// expect compares what is ours with want.
func (f *fixture) expect(want datapath.State) {
	f.Helper()
	have := f.read()
	have.Routes = slices.DeleteFunc(have.Routes, func(r datapath.Route) bool { return r.Foreign })
	f.equal(want, have)
}

func (f *fixture) equal(want, have datapath.State) {
	f.Helper()
	if d := gocmp.Diff(sorted(want), sorted(have), cmpopts.EquateEmpty(), cmpopts.EquateComparable(
		datapath.Link{}, datapath.Addr{}, datapath.FDBEntry{}, datapath.Neigh{}, datapath.Route{})); d != "" {
		f.Errorf("state (-want +got):\n%s", d)
	}
}

func sorted(s datapath.State) datapath.State {
	return datapath.State{
		Links: sortedTable(s.Links), Addrs: sortedTable(s.Addrs), FDB: sortedTable(s.FDB),
		Neighs: sortedTable(s.Neighs), Routes: sortedTable(s.Routes), Filters: sortedTable(s.Filters),
	}
}

func sortedTable[T any](table []T) []T {
	return slices.SortedFunc(slices.Values(table), func(a, b T) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// route finds what is in dst's place, ours or not.
func (f *fixture) route(dst string) (found []datapath.Route) {
	f.Helper()
	for _, r := range f.read().Routes {
		if r.Dst == prefix(dst) {
			found = append(found, r)
		}
	}
	return found
}

func (f *fixture) hand(v datapath.Verb, objects ...datapath.Object) {
	f.Helper()
	for _, o := range objects {
		if err := f.host.Hand(datapath.Op{Verb: v, Object: o}); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *fixture) mustDo(ops []datapath.Op) {
	f.Helper()
	if err := f.kernel.Do(f.Context(), ops); err != nil {
		f.Errorf("Do: %v", err)
	}
}

func (f *fixture) setUp(link string, up bool) {
	f.Helper()
	if err := f.host.SetUp(link, up); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) nextHop(dst string, want datapath.NextHop) {
	f.Helper()
	f.nextHops([]netip.Addr{addr(dst)}, []datapath.NextHop{want})
}

func (f *fixture) nextHops(dsts []netip.Addr, want []datapath.NextHop) {
	f.Helper()
	got, err := f.kernel.NextHops(f.Context(), f.scope, []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}, dsts)
	if err != nil {
		f.Fatalf("NextHops: %v", err)
	}
	if d := gocmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(datapath.NextHop{})); d != "" {
		f.Errorf("next hops of %v (-want +got):\n%s", dsts, d)
	}
}

// failures holds err to be of one *datapath.OpError for each object, in order.
func (f *fixture) failures(err error, objects ...datapath.Object) {
	f.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		f.Fatalf("error is %v, want %d failures joined", err, len(objects))
	}
	failed := joined.Unwrap()
	if len(failed) != len(objects) {
		f.Fatalf("%d failures, want %d: %v", len(failed), len(objects), err)
	}
	for i, err := range failed {
		var op *datapath.OpError
		if !errors.As(err, &op) {
			f.Errorf("failure %d is a %T: %v", i, err, err)
		} else if op.Op.Object != objects[i] {
			f.Errorf("failure %d is of %s, want %v", i, op.Op, objects[i])
		}
	}
}
