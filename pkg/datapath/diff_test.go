package datapath_test

import (
	"flag"
	"net/netip"
	"path/filepath"
	"testing"

	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func mac(n byte) datapath.MAC      { return datapath.MAC{0x0a, 0, 0, 0, 0, n} }

func vxlan(name string) datapath.Link {
	return datapath.Link{
		Name: name, Kind: "vxlan", Alias: "ours", Up: true, MTU: 1450, MAC: mac(1),
		VXLAN: datapath.VXLAN{VNI: 1, Parent: "eth0", Local: addr("192.0.2.1"), Port: 8472},
	}
}

// tun is called as vxlan's are, to stand in its way.
func tun(flags datapath.TUN) datapath.Link {
	return datapath.Link{Name: "vx.1", Kind: "tun", Alias: "ours", Up: true, MTU: 1472, TUN: flags}
}

// tunnel is one link with one host behind it.
func tunnel() datapath.State {
	return datapath.State{
		Links:  []datapath.Link{vxlan("vx.1")},
		Addrs:  []datapath.Addr{{Link: "vx.1", Prefix: prefix("10.5.1.0/32")}},
		FDB:    []datapath.FDBEntry{{Link: "vx.1", MAC: mac(2), Dst: addr("192.0.2.2")}},
		Neighs: []datapath.Neigh{{Link: "vx.1", IP: addr("10.5.2.0"), MAC: mac(2)}},
		Routes: []datapath.Route{{Dst: prefix("10.5.2.0/24"), Gateway: addr("10.5.2.0"), Link: "vx.1", OnLink: true, Protocol: 77}},
	}
}

func via(dst, gateway string) datapath.Route {
	return datapath.Route{Dst: prefix(dst), Gateway: addr(gateway), Link: "eth0", Protocol: 77}
}

// with returns the tunnel as f leaves it.
func with(f func(*datapath.State)) datapath.State {
	s := tunnel()
	f(&s)
	return s
}

func TestDiffGolden(t *testing.T) {
	tests := map[string]struct{ want, have datapath.State }{
		"from-nothing":  {want: tunnel()},
		"to-nothing":    {have: tunnel()},
		"nothing-to-do": {want: tunnel(), have: tunnel()},
		"immutable-change-remakes-link": {
			want: with(func(s *datapath.State) { s.Links[0].VXLAN.Port = 4789 }), have: datapath.State{Links: tunnel().Links},
		},
		"tun":                     {want: datapath.State{Links: []datapath.Link{tun(datapath.TUN{VnetHdr: true})}}},
		"tun-flags-remake-link":   {want: datapath.State{Links: []datapath.Link{tun(datapath.TUN{VnetHdr: true, MultiQueue: true})}}, have: datapath.State{Links: []datapath.Link{tun(datapath.TUN{})}}},
		"tun-takes-vxlan-s-place": {want: datapath.State{Links: []datapath.Link{tun(datapath.TUN{})}}, have: tunnel()},
		"mtu-changes-live":        {want: with(func(s *datapath.State) { s.Links[0].MTU = 1400 }), have: tunnel()},
		"link-is-set-up":          {want: tunnel(), have: with(func(s *datapath.State) { s.Links[0].Up = false })},
		"old-link-goes":           {want: tunnel(), have: with(func(s *datapath.State) { s.Links = append(s.Links, vxlan("old.7")) })},
		"host-moved":              {want: tunnel(), have: with(func(s *datapath.State) { s.FDB[0].Dst, s.Neighs[0].MAC = addr("192.0.2.9"), mac(9) })},
		"one-more-host":           {want: with(oneMore), have: tunnel()},
		"one-host-less":           {want: tunnel(), have: with(oneMore)},
		"gateway-changes":         {want: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.2")}}, have: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.3")}}},
		"metric-is-its-own":       {want: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.2")}}, have: datapath.State{Routes: []datapath.Route{metric(via("10.5.2.0/24", "192.0.2.2"), 9)}}},
		"foreign-stays":           {have: datapath.State{Routes: []datapath.Route{foreign(via("10.5.2.0/24", "192.0.2.2"))}}},
		"foreign-is-replaced": {
			want: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.2")}},
			have: datapath.State{Routes: []datapath.Route{foreign(via("10.5.2.0/24", "192.0.2.2"))}},
		},
		"duplicate-of-a-met-route-goes": {
			want: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.2")}},
			have: datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.3"), via("10.5.2.0/24", "192.0.2.2")}},
		},
		"blackhole": {
			want: datapath.State{Routes: []datapath.Route{{Dst: prefix("10.5.0.0/16"), Type: datapath.Blackhole, Protocol: 77}}},
			have: datapath.State{Routes: []datapath.Route{{Dst: prefix("fd00::/48"), Type: datapath.Blackhole, Metric: 1024, Protocol: 77}}},
		},
		"ipv6": {want: datapath.State{
			Links: []datapath.Link{{Name: "vx6.1", Kind: "vxlan", MTU: 1430, VXLAN: datapath.VXLAN{VNI: 6, Local: addr("2001:db8::1"), Port: 8472, Learning: true, GBP: true}}},
			Addrs: []datapath.Addr{{Link: "vx6.1", Prefix: prefix("fd00::/128")}},
			FDB:   []datapath.FDBEntry{{Link: "vx6.1", MAC: mac(3), Dst: addr("2001:db8::3")}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			golden.Ops(t, filepath.Join("testdata", "diff", name+".golden"), datapath.Diff(test.want, test.have), *update)
		})
	}
}

func oneMore(s *datapath.State) {
	s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx.1", MAC: mac(3), Dst: addr("192.0.2.3")})
	s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx.1", IP: addr("10.5.3.0"), MAC: mac(3)})
	s.Routes = append(s.Routes, datapath.Route{Dst: prefix("10.5.3.0/24"), Gateway: addr("10.5.3.0"), Link: "vx.1", OnLink: true, Protocol: 77})
}

func metric(r datapath.Route, m uint32) datapath.Route { r.Metric = m; return r }

// foreign is r as somebody else made it.
func foreign(r datapath.Route) datapath.Route { r.Protocol, r.Foreign = 3, true; return r }
