package kerneltest

import (
	"net/netip"

	"flanneld/pkg/datapath"
)

var entryCases = map[string]func(*fixture){
	"what was added by hand to our link goes": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		f.hand(datapath.Set,
			datapath.Addr{Link: "vx.1", Prefix: prefix("10.5.1.9/32")},
			datapath.Addr{Link: "vx.1", Prefix: prefix("10.99.0.1/24")},
			datapath.Addr{Link: "vx6.1", Prefix: prefix("fd00:99::1/64")},
			datapath.FDBEntry{Link: "vx.1", MAC: mac(50), Dst: addr("192.0.2.50")},
			datapath.FDBEntry{Link: "vx6.1", MAC: mac(50), Dst: addr("2001:db8::50")},
			datapath.Neigh{Link: "vx.1", IP: addr("10.5.50.0"), MAC: mac(50)},
			datapath.Neigh{Link: "vx6.1", IP: addr("fd00:5::50"), MAC: mac(50)},
			datapath.Route{Dst: prefix("10.5.50.0/24"), Link: "vx.1", Protocol: boot},
			datapath.Route{Dst: prefix("172.30.0.0/16"), Link: "vx.1", Protocol: boot},
			datapath.Route{Dst: prefix("fd00:98::/64"), Link: "vx6.1", Metric: 1024, Protocol: boot},
		)
		f.apply(want)
	},
	"what was deleted by hand comes back": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, s := range []datapath.State{tunnel4(), tunnel6()} {
			f.hand(datapath.Delete, s.Routes[0], s.Neighs[0], s.FDB[0], s.Addrs[0])
		}
		f.apply(want)
	},
	"entries of a neighbour that moved are replaced": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		want.FDB[0].Dst = addr("192.0.2.77")
		want.Neighs[0].MAC = want.FDB[1].MAC
		want.FDB[2].Dst = addr("2001:db8::77")
		want.Neighs[2].MAC = want.FDB[3].MAC
		if n := f.apply(want); n != 4 {
			f.Errorf("took %d operations, want 4", n)
		}
	},
	"network-wide address and route of an old daemon go": func(f *fixture) {
		want := tunnel4()
		f.apply(want)
		f.hand(datapath.Delete, want.Addrs[0])
		f.hand(datapath.Set,
			datapath.Addr{Link: "vx.1", Prefix: prefix("10.5.1.0/16")},
			datapath.Route{Dst: prefix("10.5.0.0/16"), Link: "vx.1", Protocol: boot})
		f.apply(want)
	},
	"deleting what is gone is no error": func(f *fixture) {
		want := join(tunnel4(), tunnel6(), gateways())
		f.apply(want)
		f.apply(datapath.State{Links: want.Links})
		f.mustDo(deletions(datapath.State{Addrs: want.Addrs, FDB: want.FDB, Neighs: want.Neighs, Routes: want.Routes}))
		f.apply(datapath.State{})
		f.mustDo(deletions(want))
	},
	"setting twice is setting once": func(f *fixture) {
		want := join(tunnel4(), tunnel6(), gateways())
		f.apply(want)
		f.mustDo(sets(want))
		f.expect(want)
	},
	"two thousand hosts in one go": func(f *fixture) {
		want := many(2000)
		f.apply(want)
		f.apply(datapath.State{Links: want.Links, Addrs: want.Addrs})
	},
}

// many is tunnel4 with n hosts on the other side.
func many(n int) datapath.State {
	s := tunnel4()
	s.FDB, s.Neighs, s.Routes = nil, nil, nil
	for i := 1; i <= n; i++ {
		gateway := netip.AddrFrom4([4]byte{10, 5, byte(i / 64), byte(i % 64 * 4)})
		if gateway == s.Addrs[0].Prefix.Addr() {
			continue // it is this host's own
		}
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx.1", MAC: mac(i + 100), Dst: netip.AddrFrom4([4]byte{192, 0, byte(2 + i>>8), byte(i)})})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx.1", IP: gateway, MAC: mac(i + 100)})
		s.Routes = append(s.Routes, datapath.Route{
			Dst: netip.PrefixFrom(gateway, 30), Gateway: gateway, Link: "vx.1", OnLink: true, Protocol: protocol,
		})
	}
	return s
}

func sets(s datapath.State) []datapath.Op { return ops(datapath.Set, s) }

func deletions(s datapath.State) []datapath.Op { return ops(datapath.Delete, s) }

func ops(v datapath.Verb, s datapath.State) (all []datapath.Op) {
	all = objects(all, v, s.Links)
	all = objects(all, v, s.Addrs)
	all = objects(all, v, s.FDB)
	all = objects(all, v, s.Neighs)
	return objects(all, v, s.Routes)
}

func objects[T datapath.Object](all []datapath.Op, v datapath.Verb, table []T) []datapath.Op {
	for _, o := range table {
		all = append(all, datapath.Op{Verb: v, Object: o})
	}
	return all
}
