package vxlan_test

import (
	"encoding/json"
	"flag"
	"net/netip"
	"testing"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/backend/vxlan"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

var newBackend = backendtest.Configured(func(raw json.RawMessage) (backend.New, error) { return vxlan.Configure(raw, false) })

func TestBackend(t *testing.T) {
	backendtest.Run(t, newBackend, `{"Type":"vxlan"}`)
}

func TestBackendWithDirectRouting(t *testing.T) {
	backendtest.Run(t, newBackend, `{"Type":"vxlan","DirectRouting":true}`)
}

// files make the devices' MACs known.
var files = backendtest.Files{
	"flannel.1.mac": "0a:00:00:00:00:01\n", "flannel-v6.1.mac": "0a:00:00:00:06:01\n",
	"flannel.7.mac": "0a:00:00:00:00:01\n", "flannel-v6.7.mac": "0a:00:00:00:06:01\n",
}

func TestGolden(t *testing.T) {
	peer, at, ipv4 := backendtest.Peer, backendtest.At, backendtest.IPv4
	backendtest.Golden(t, newBackend, files, map[string]backendtest.Case{
		"no-peers":    {Planes: ipv4()},
		"one-peer":    {Planes: ipv4(peer(2))},
		"three-peers": {Planes: ipv4(peer(2), peer(3), peer(4))},
		"dual-stack":  {Planes: backendtest.DualStack(2, 3)},
		"blackhole":   {Planes: backendtest.Blackhole(backendtest.DualStack(2))},
		"options": {
			Config: `{"Type":"vxlan","VNI":7,"Port":4789,"MTU":1400,"GBP":true,"Learning":true}`,
			Planes: backendtest.DualStack(2),
		},

		"own-mac-is-skipped":       {Planes: ipv4(peer(2), data(peer(3), peer(1).Data), peer(4))},
		"duplicate-mac-is-skipped": {Planes: ipv4(peer(2), data(peer(3), peer(2).Data), peer(4))},
		"two-subnets-of-one-host":  {Planes: ipv4(peer(2), backendtest.At(data(peer(3), peer(2).Data), peer(2).PublicIP.String()), peer(4))},
		"bad-data-is-skipped": {Planes: ipv4(
			data(peer(2), ``), data(peer(3), `"text"`), data(peer(4), `{"VtepMAC":"0a:00"}`), data(peer(5), `{}`),
			data(peer(6), `{"VtepMAC":"01:00:5e:00:00:01"}`), data(peer(7), `{"VtepMAC":"00:00:00:00:00:00"}`),
			data(peer(8), `{"VtepMAC":7}`), peer(9))},
		"data-of-other-releases": {Planes: ipv4(
			data(peer(2), `{"VtepMAC":"0A:00:00:00:00:02"}`),                         // before 0.14
			data(peer(3), `{"VNI":70000,"VtepMAC":"0a-00-00-00-00-03","extra":[1]}`), // from 0.24
			data(peer(4), `{"VNI":"x","VtepMAC":"0a00.0000.0004"}`))},

		"peer-joins":     {Before: ipv4(peer(2)), Planes: ipv4(peer(2), peer(3))},
		"peer-leaves":    {Before: ipv4(peer(2), peer(3)), Planes: ipv4(peer(3))},
		"peer-moved":     {Before: ipv4(peer(2)), Planes: ipv4(at(peer(2), "192.0.2.99"))},
		"peer-rebooted":  {Before: ipv4(peer(2)), Planes: ipv4(data(peer(2), peer(99).Data))},
		"subnet-changed": {Before: ipv4(peer(2)), Planes: ownSubnet("10.5.77.0/24", peer(2))},
		"ipv6-off":       {Before: backendtest.DualStack(2), Planes: ipv4(peer(2))},
	}, *update)
}

func TestGoldenDirectRouting(t *testing.T) {
	peer, at, ipv4 := backendtest.Peer, backendtest.At, backendtest.IPv4
	const config = `{"Type":"vxlan","DirectRouting":true}`
	far6 := backendtest.DualStack(2, 3)
	far6[0].Peers[1], far6[1].Peers[1] = at(far6[0].Peers[1], "198.51.100.3"), at(far6[1].Peers[1], "2001:db8:9::3")
	backendtest.Golden(t, newBackend, files, map[string]backendtest.Case{
		"direct-mixed":      {Config: config, Planes: ipv4(peer(2), at(peer(3), "198.51.100.3"), peer(4))},
		"direct-dual-stack": {Config: config, Planes: far6},
		"direct-needs-no-mac": {Config: config, Planes: ipv4(
			data(peer(2), ``), data(peer(3), peer(1).Data), at(data(peer(4), ``), "198.51.100.4"))},
		"direct-by-routing": {Config: config, Links: []string{"eth1"}, Have: []datapath.Object{
			onLink("203.0.113.0/24", "eth1"),       // on another interface, which has no address of it
			onLink("198.51.100.7/32", "eth0"),      // on the underlay, outside its prefix
			via("192.0.2.4/32", "192.0.2.253"),     // inside its prefix, and yet behind a gateway
			blackhole("192.0.2.5/32"),              // inside its prefix, and unreachable
			via("2001:db8::2/128", "2001:db8::fd"), // IPv6 is decided by itself
		}, Planes: append(ipv4(peer(2), at(peer(3), "203.0.113.3"), peer(4), peer(5), at(peer(6), "198.51.100.6"), at(peer(7), "198.51.100.7")),
			backendtest.DualStack(2, 3)[1])},
		"direct-turned-on":  {Config: config, Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4(peer(9))},
		"direct-turned-off": {Have: backendtest.Gateways(), Planes: ipv4(peer(9))},
		"direct-not-by-the-overlay": {Config: config, Have: append(before09("flannel.1"),
			onLink("198.51.100.0/24", "flannel.1")), Planes: ipv4(at(peer(2), "10.5.200.2"), at(peer(3), "198.51.100.3"))},
	}, *update)
}

func TestGoldenLeftovers(t *testing.T) {
	peer, ipv4 := backendtest.Peer, backendtest.IPv4
	backendtest.Golden(t, newBackend, files, map[string]backendtest.Case{
		"stale-entries":     {Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4(peer(2))},
		"older-vni":         {Have: backendtest.Tunnel("flannel.77", 77), Planes: ipv4(peer(2))},
		"after-host-gw":     {Have: backendtest.Gateways(), Planes: backendtest.DualStack(2, 9)},
		"before-0.9":        {Have: before09("flannel.1"), Planes: ipv4(peer(2), peer(9))},
		"other-port":        {Config: `{"Type":"vxlan","Port":4789}`, Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4(peer(9))},
		"other-mtu":         {Config: `{"Type":"vxlan","MTU":1400}`, Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4(peer(9))},
		"learning-turns-on": {Config: `{"Type":"vxlan","Learning":true}`, Have: backendtest.Tunnel("flannel.1", 1), Planes: ipv4()},
	}, *update)
}

// before09 is what releases before 0.9 leave: the device without an alias, with
// an address as wide as the network, a route to all of it, and a forwarding entry
// per peer, here 9.
func before09(device string) []datapath.Object {
	link := backendtest.Tunnel(device, 1)[0].(datapath.Link)
	link.Alias = ""
	return []datapath.Object{
		link,
		datapath.Addr{Link: device, Prefix: netip.MustParsePrefix("10.5.1.0/16")},
		datapath.FDBEntry{Link: device, MAC: backendtest.MAC(9), Dst: netip.MustParseAddr("192.0.2.9")},
		onLink("10.5.0.0/16", device),
	}
}

func data(c subnet.Claim, data string) subnet.Claim { c.Data = data; return c }

func ownSubnet(own string, peers ...subnet.Claim) []backend.Plane {
	planes := backendtest.IPv4(peers...)
	planes[0].Subnet = netip.MustParsePrefix(own)
	return planes
}

// onLink is a route that an administrator made, without a gateway.
func onLink(dst, link string) datapath.Route {
	return datapath.Route{Dst: netip.MustParsePrefix(dst), Link: link, Protocol: backendtest.Boot}
}

func via(dst, gateway string) datapath.Route {
	r := onLink(dst, "eth0")
	r.Gateway = netip.MustParseAddr(gateway)
	r.Metric = backend.Metric(r.Dst)
	return r
}

func blackhole(dst string) datapath.Route {
	return datapath.Route{Dst: netip.MustParsePrefix(dst), Type: datapath.Blackhole, Protocol: backendtest.Boot}
}
