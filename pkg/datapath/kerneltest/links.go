package kerneltest

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

var linkCases = map[string]func(*fixture){
	"tunnel over IPv4": func(f *fixture) { f.apply(tunnel4()) },
	"tunnel over IPv6": func(f *fixture) { f.apply(tunnel6()) },
	"tunnels of both":  func(f *fixture) { f.apply(join(tunnel4(), tunnel6(), gateways())) },
	"tunnels of both with one VNI and port": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		for i := range want.Links {
			want.Links[i].VXLAN.VNI, want.Links[i].VXLAN.Port = 1, 8472
		}
		f.apply(want)
	},
	"all goes when unwanted": func(f *fixture) {
		f.apply(join(tunnel4(), tunnel6(), gateways()))
		f.apply(datapath.State{})
	},
	"immutable change re-makes the link": func(f *fixture) {
		want := tunnel4()
		f.apply(want)
		want.Links[0].VXLAN.Port = 4789
		f.apply(want)
		want.Links[0].VXLAN.VNI = 2
		want.Links[0].VXLAN.Learning = true
		f.apply(want)
	},
	"mtu and alias change live": func(f *fixture) {
		want := tunnel4()
		f.apply(want)
		want.Links[0].MTU = 1400
		if n := f.apply(want); n != 1 {
			f.Errorf("MTU change took %d operations, want 1", n)
		}
		want.Links[0].Alias = "somebody else"
		if n := f.apply(want); n != 1 {
			f.Errorf("alias change took %d operations, want 1", n)
		}
	},
	"mac changes live": func(f *fixture) {
		want := tunnel4()
		f.apply(want)
		want.Links[0].MAC = mac(99)
		f.apply(want)
	},
	"mac changed by hand": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, l := range want.Links {
			l.MAC, l.MTU, l.Alias = mac(98), 1300, "mine"
			f.hand(datapath.Set, l)
		}
		f.apply(want)
	},
	"link without a wanted mac gets one": func(f *fixture) {
		want := tunnel4()
		want.Links[0].MAC = datapath.MAC{}
		if _, err := f.tryApply(want); err != nil {
			f.Fatal(err)
		}
		if m := f.read().Links[0].MAC; !m.Unicast() {
			f.Errorf("MAC is %s", m)
		}
	},
	"link deleted by hand": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, l := range want.Links {
			f.hand(datapath.Delete, l)
		}
		f.expect(datapath.State{})
		f.apply(want)
	},
	"flapped link": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, l := range want.Links {
			f.setUp(l.Name, false)
			f.setUp(l.Name, true)
		}
		if have := f.read(); len(have.Routes) != 0 || len(have.Neighs) != 0 {
			f.Errorf("a flapped link keeps %d routes and %d neighbours", len(have.Routes), len(have.Neighs))
		} else if len(have.FDB) != len(want.FDB) {
			f.Errorf("a flapped link keeps %d of %d forwarding entries", len(have.FDB), len(want.FDB))
		}
		f.apply(want)
	},
	"link left down": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		f.setUp("vx.1", false)
		f.setUp("vx6.1", false)
		f.apply(want)
	},
	"flapped underlay": func(f *fixture) {
		want := join(gateways(), tunnel4())
		want.Routes = append(want.Routes[:2:2], want.Routes[3:]...) // its IPv6 address is lost for good
		f.apply(want)
		f.setUp("eth0", false)
		f.setUp("eth0", true)
		f.apply(want)
	},
	"link of ours under an old name goes": func(f *fixture) {
		old := tunnel4().Links[0]
		old.Name, old.VXLAN.VNI = "old.7", 7
		f.hand(datapath.Make, old)
		f.apply(tunnel4())
	},
	"link of ours that was renamed makes room": func(f *fixture) {
		renamed := tunnel4().Links[0]
		renamed.Name = "renamed"
		f.hand(datapath.Make, renamed)
		f.apply(tunnel4())
	},
	"link that cannot be made holds up no other": func(f *fixture) {
		other := tunnel6().Links[0]
		other.Name, other.Alias = "other.6", "not ours"
		f.hand(datapath.Make, other)
		_, err := f.tryApply(join(tunnel4(), tunnel6()))
		f.failures(err, tunnel6().Links[0])
		f.expect(tunnel4())
		f.hand(datapath.Delete, other)
		f.apply(join(tunnel4(), tunnel6()))
	},
	"link of somebody else stays": func(f *fixture) {
		other := tunnel4().Links[0]
		other.Name, other.Alias, other.VXLAN.VNI = "other.7", "not ours", 7
		f.hand(datapath.Make, other)
		f.apply(tunnel4())
		f.scope.Links = append(f.scope.Links, other.Name)
		f.expect(join(tunnel4(), datapath.State{Links: []datapath.Link{other}}))
	},
	"mtu that the underlay cannot carry": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, l := range want.Links {
			l.MTU++
			f.failures(f.kernel.Do(f.Context(), []datapath.Op{{Verb: datapath.Set, Object: l}}), l)
		}
		f.expect(want)
	},
	"mtu of any link can be asked for": func(f *fixture) {
		f.apply(tunnel4())
		for link, want := range map[string]int{"eth0": 1500, "vx.1": 1450} {
			if got, err := f.kernel.LinkMTU(f.Context(), link); got != want || err != nil {
				f.Errorf("LinkMTU(%s) = %d, %v; want %d", link, got, err, want)
			}
		}
		if _, err := f.kernel.LinkMTU(f.Context(), "none"); !errors.Is(err, unix.ENODEV) {
			f.Errorf("LinkMTU of nothing: %v, want ENODEV", err)
		}
	},
	"same tunnel under another name is an error that names it": func(f *fixture) {
		other, over6 := tunnel4().Links[0], tunnel4().Links[0]
		other.Name, other.Alias = "other.1", "not ours"
		over6.Name, over6.Alias, over6.MTU, over6.VXLAN.Local = "another.1", "not ours", 1400, addr("2001:db8::1")
		f.hand(datapath.Make, over6, other)
		_, err := f.tryApply(tunnel4())
		if err == nil || !strings.Contains(err.Error(), "other.1") {
			f.Errorf("error does not name other.1: %v", err)
		}
	},
}
