package kerneltest

import "flanneld/pkg/datapath"

// tun is what a host wants that tunnels in a process: one route for all others.
func tun() datapath.State {
	return datapath.State{
		Links: []datapath.Link{{
			Name: "tun7", Kind: "tun", Alias: owner, Up: true, MTU: 1472, TUN: datapath.TUN{VnetHdr: true},
		}},
		Addrs:  []datapath.Addr{{Link: "tun7", Prefix: prefix("10.5.1.0/32")}},
		Routes: []datapath.Route{{Dst: prefix("10.5.0.0/16"), Link: "tun7", Protocol: protocol}},
	}
}

var tunCases = map[string]func(*fixture){
	"tun of each kind": func(f *fixture) {
		for _, flags := range []datapath.TUN{
			{}, {VnetHdr: true}, {MultiQueue: true}, {VnetHdr: true, MultiQueue: true},
		} {
			want := tun()
			want.Links[0].TUN = flags
			f.apply(want)
		}
	},
	"tun beside tunnels":       func(f *fixture) { f.apply(join(tun(), tunnel4(), tunnel6())) },
	"tun goes when unwanted":   func(f *fixture) { f.apply(tun()); f.apply(datapath.State{}) },
	"tun after a tunnel":       func(f *fixture) { f.apply(tunnel4()); f.apply(tun()) },
	"tun makes way for tunnel": func(f *fixture) { f.apply(tun()); f.apply(tunnel4()) },
	"tun is re-made for other flags": func(f *fixture) {
		want := tun()
		f.apply(want)
		want.Links[0].TUN.MultiQueue = true
		f.apply(want)
		want.Links[0].TUN = datapath.TUN{}
		f.apply(want)
	},
	"tun takes the place of another kind": func(f *fixture) {
		other := tunnel4().Links[0]
		other.Name, other.Alias = "tun7", "not ours"
		f.hand(datapath.Make, other)
		f.apply(tun())
	},
	"tun made by hand is taken": func(f *fixture) {
		link := tun().Links[0]
		link.Alias, link.MTU, link.Up = "mine", 1300, false
		f.hand(datapath.Make, link)
		if n := f.apply(tun()); n != 3 {
			f.Errorf("took %d operations, want 3: link, address, route", n)
		}
	},
	"tun of somebody else stays": func(f *fixture) {
		link := tun().Links[0]
		link.Name, link.Alias = "tun8", "not ours"
		f.hand(datapath.Make, link)
		f.apply(tun())
		f.scope.Links = append(f.scope.Links, link.Name)
		f.expect(join(tun(), datapath.State{Links: []datapath.Link{link}}))
	},
	"tun changes live": func(f *fixture) {
		want := tun()
		f.apply(want)
		want.Links[0].MTU = 1400
		if n := f.apply(want); n != 1 {
			f.Errorf("MTU change took %d operations, want 1", n)
		}
	},
	"tun disturbed": func(f *fixture) {
		want := tun()
		f.apply(want)
		f.hand(datapath.Delete, want.Routes[0])
		f.apply(want)
		f.setUp("tun7", false)
		f.apply(want)
		f.hand(datapath.Delete, want.Addrs[0])
		f.apply(want)
		f.hand(datapath.Delete, want.Links[0])
		f.apply(want)
	},
	"tun has no mac": func(f *fixture) {
		link := tun().Links[0]
		link.MAC = mac(1)
		_ = f.kernel.Do(f.Context(), []datapath.Op{{Verb: datapath.Make, Object: link}})
		for _, l := range f.read().Links {
			if !l.MAC.IsZero() {
				f.Errorf("%s has MAC %s", l.Name, l.MAC)
			}
		}
	},
	"tun cannot be made twice": func(f *fixture) {
		f.apply(tun())
		op := datapath.Op{Verb: datapath.Make, Object: tun().Links[0]}
		f.failures(f.kernel.Do(f.Context(), []datapath.Op{op}), op.Object)
		f.expect(tun())
	},
}
