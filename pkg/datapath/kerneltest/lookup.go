package kerneltest

import (
	"net/netip"

	"flanneld/pkg/datapath"
)

var lookupCases = map[string]func(*fixture){
	"next hop of a neighbour is the neighbour": func(f *fixture) {
		f.nextHop("192.0.2.7", datapath.NextHop{Link: "eth0"})
		f.nextHop("2001:db8::7", datapath.NextHop{Link: "eth0"})
	},
	"next hop by a gateway": func(f *fixture) {
		f.hand(datapath.Set,
			datapath.Route{Dst: prefix("0.0.0.0/0"), Gateway: addr("192.0.2.254"), Link: "eth0", Protocol: boot},
			datapath.Route{Dst: prefix("::/0"), Gateway: addr("2001:db8::254"), Link: "eth0", Metric: 1024, Protocol: boot},
			datapath.Route{Dst: prefix("203.0.113.0/24"), Link: "eth0", Protocol: boot},
			datapath.Route{Dst: prefix("203.0.113.9/32"), Gateway: addr("192.0.2.9"), Link: "eth0", Protocol: boot})
		f.nextHop("198.51.100.7", datapath.NextHop{Link: "eth0", Gateway: addr("192.0.2.254")})
		f.nextHop("2001:db8:9::7", datapath.NextHop{Link: "eth0", Gateway: addr("2001:db8::254")})
		f.nextHop("203.0.113.7", datapath.NextHop{Link: "eth0"})
		f.nextHop("203.0.113.9", datapath.NextHop{Link: "eth0", Gateway: addr("192.0.2.9")})
	},
	"no next hop where nothing leads": func(f *fixture) {
		f.nextHop("198.51.100.7", datapath.NextHop{})
		f.nextHop("2001:db8:9::7", datapath.NextHop{})
		f.hand(datapath.Set, datapath.Route{Dst: prefix("192.0.2.7/32"), Type: datapath.Blackhole, Protocol: boot})
		f.nextHop("192.0.2.7", datapath.NextHop{})
	},
	"no next hop of this host's addresses": func(f *fixture) {
		f.nextHop("192.0.2.1", datapath.NextHop{})
		f.nextHop("2001:db8::1", datapath.NextHop{})
	},
	"no next hop by a link of ours": func(f *fixture) {
		want := join(tunnel4(), tunnel6())
		f.apply(want)
		for _, l := range want.Links {
			network := map[string]string{"vx.1": "10.5.0.0/16", "vx6.1": "fd00:5::/48"}[l.Name]
			f.hand(datapath.Set, datapath.Route{Dst: prefix(network), Link: l.Name, Protocol: boot})
		}
		f.nextHop("10.5.12.7", datapath.NextHop{})
		f.nextHop("10.5.99.7", datapath.NextHop{})
		f.nextHop("fd00:5:0:99::7", datapath.NextHop{})
	},
	"next hop by a link of somebody else": func(f *fixture) {
		other := tunnel4().Links[0]
		other.Name, other.Alias, other.VXLAN.VNI = "other.7", "not ours", 7
		f.hand(datapath.Make, other)
		f.hand(datapath.Set, datapath.Addr{Link: other.Name, Prefix: prefix("198.51.100.1/24")})
		f.nextHop("198.51.100.7", datapath.NextHop{Link: other.Name})
	},
	"next hops of many, in order": func(f *fixture) {
		var dsts []netip.Addr
		var want []datapath.NextHop
		for i := range 1500 {
			if i%3 == 0 {
				dsts, want = append(dsts, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})), append(want, datapath.NextHop{})
				continue
			}
			dsts = append(dsts, netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i%250)}))
			want = append(want, datapath.NextHop{Link: "eth0"})
		}
		f.nextHops(dsts, want)
		f.nextHops(nil, nil)
	},
}
