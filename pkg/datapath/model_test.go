package datapath_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/fake"
	"flanneld/pkg/netlab/labtest"
)

// model is a kernel as simple as can be: a table of objects by key.
type model map[any]datapath.Object

func key(o datapath.Object) any {
	switch o := o.(type) {
	case datapath.Link:
		return o.Name
	case datapath.Addr:
		return o
	case datapath.FDBEntry:
		return [2]any{o.Link, o.MAC}
	case datapath.Neigh:
		return [2]any{o.Link, o.IP}
	case datapath.Route:
		return [2]any{o.Dst, o.Metric}
	}
	panic(fmt.Sprintf("unknown object %T", o))
}

func newModel(s datapath.State) model {
	m := make(model)
	fill(m, s.Links)
	fill(m, s.Addrs)
	fill(m, s.FDB)
	fill(m, s.Neighs)
	fill(m, s.Routes)
	return m
}

func fill[T datapath.Object](m model, table []T) {
	for _, o := range table {
		m[key(o)] = o
	}
}

// do carries an operation out and returns what is wrong with it.
func (m model) do(op datapath.Op) error {
	k := key(op.Object)
	_, there := m[k]
	link, isLink := op.Object.(datapath.Link)
	switch {
	case op.Verb == datapath.Delete && m[k] != op.Object:
		return fmt.Errorf("%s: there is %v", op, m[k])
	case op.Verb == datapath.Delete:
		delete(m, k)
		if isLink {
			maps.DeleteFunc(m, func(_ any, o datapath.Object) bool { return o.On() == link.Name })
		}
		return nil
	case op.Verb == datapath.Make && (!isLink || there), op.Verb == datapath.Set && isLink && !there:
		return fmt.Errorf("%s: wrong verb", op)
	case !isLink && op.Object.On() != "" && op.Object.On() != "eth0" && m[op.Object.On()] == nil:
		return fmt.Errorf("%s: no such link", op)
	}
	m[k] = op.Object
	return nil
}

// random is a state in which all hangs on links that are there. Few values make
// many collisions.
func random(r *rand.Rand) datapath.State {
	m := make(model)
	for _, name := range []string{"a", "b", "c"} {
		if r.IntN(3) == 0 {
			continue
		}
		l := vxlan(name)
		l.MTU = 1400 + r.IntN(2)
		l.VXLAN.VNI = uint32(name[0])
		l.VXLAN.Port = uint16(8472 + r.IntN(2))
		if r.IntN(3) == 0 {
			l = datapath.Link{Name: name, Kind: "tun", Alias: l.Alias, Up: l.Up, MTU: l.MTU,
				TUN: datapath.TUN{VnetHdr: r.IntN(2) == 0, MultiQueue: r.IntN(2) == 0}}
		}
		m[l.Name] = l
		for range r.IntN(4) {
			a := datapath.Addr{Link: name, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, name[0], byte(r.IntN(2))}), 32)}
			e := datapath.FDBEntry{Link: name, MAC: mac(byte(2 + r.IntN(3))), Dst: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + r.IntN(3))})}
			n := datapath.Neigh{Link: name, IP: netip.AddrFrom4([4]byte{10, 5, byte(r.IntN(4)), 9}), MAC: mac(byte(r.IntN(3) + 2))}
			m[key(a)], m[key(n)] = a, n
			if l.Kind == "vxlan" {
				m[key(e)] = e
			}
		}
	}
	for range r.IntN(8) {
		route := datapath.Route{
			Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(r.IntN(4)), 0}), 24), Metric: uint32(r.IntN(2)), Protocol: 77,
			Link: []string{"a", "b", "c", "eth0"}[r.IntN(4)],
		}
		if route.Link == "eth0" {
			route.Gateway = netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + r.IntN(2))})
		} else if m[route.Link] == nil {
			continue
		}
		m[key(route)] = route
	}
	return m.state()
}

func (m model) state() (s datapath.State) {
	for _, o := range m {
		switch o := o.(type) {
		case datapath.Link:
			s.Links = append(s.Links, o)
		case datapath.Addr:
			s.Addrs = append(s.Addrs, o)
		case datapath.FDBEntry:
			s.FDB = append(s.FDB, o)
		case datapath.Neigh:
			s.Neighs = append(s.Neighs, o)
		case datapath.Route:
			s.Routes = append(s.Routes, o)
		}
	}
	return s
}

const rounds = 3000

// TestDiffCarriedOutIsWhatWasWanted looks twice where a link is re-made, as the
// Reconciler does: Diff does not say what goes with a link.
func TestDiffCarriedOutIsWhatWasWanted(t *testing.T) {
	labtest.Native(t)
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 0))
		want, have := random(r), random(r)
		m := newModel(have)
		for range 2 {
			for _, op := range datapath.Diff(want, m.state()) {
				if err := m.do(op); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		if !maps.Equal(m, newModel(want)) {
			t.Fatalf("seed %d: left to do: %v", seed, datapath.Diff(want, m.state()))
		}
		if ops := datapath.Diff(want, m.state()); len(ops) > 0 {
			t.Fatalf("seed %d: nothing differs, yet %v", seed, ops)
		}
	}
}

// TestDiffCarriedOutOnceSuffices holds when no link is re-made.
func TestDiffCarriedOutOnceSuffices(t *testing.T) {
	labtest.Native(t)
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		want, have := random(r), random(r)
		for _, links := range [][]datapath.Link{want.Links, have.Links} {
			for i, l := range links {
				links[i] = vxlan(l.Name)
				links[i].MTU = l.MTU
			}
		}
		m := newModel(have)
		for _, op := range datapath.Diff(want, have) {
			if err := m.do(op); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if !maps.Equal(m, newModel(want)) {
			t.Fatalf("seed %d: left to do: %v", seed, datapath.Diff(want, m.state()))
		}
	}
}

// TestApplyOnRandomStates takes the strict fake from any state to any other, and
// comes to rest there.
func TestApplyOnRandomStates(t *testing.T) {
	labtest.Native(t)
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 2))
		reconciler := onFake()
		for range 3 {
			want := random(r)
			if _, err := reconciler.Apply(t.Context(), want); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			have, err := reconciler.Kernel.Read(t.Context(), reconciler.Scope)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(newModel(have), newModel(want)) {
				t.Fatalf("seed %d: left to do: %v", seed, datapath.Diff(want, have))
			}
			if n, err := reconciler.Apply(t.Context(), want); n != 0 || err != nil {
				t.Fatalf("seed %d: another Apply: %d operations, %v; want none", seed, n, err)
			}
		}
	}
}

func onFake() *datapath.Reconciler {
	return &datapath.Reconciler{
		Kernel: fake.New(prefix("192.0.2.1/24")), Log: slog.New(slog.DiscardHandler),
		Scope: datapath.Scope{Owner: "ours", Networks: []netip.Prefix{prefix("10.5.0.0/16")}, Protocol: 77},
	}
}
