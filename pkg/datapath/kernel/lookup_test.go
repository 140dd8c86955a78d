package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

func TestNextHopsFollowRulesForTheSource(t *testing.T) {
	labtest.Native(t)
	enter(t)
	if err := shell(`ip route add 192.0.2.0/24 via 192.0.2.254 dev eth0 table 100
ip route add 2001:db8::/64 via 2001:db8::fe dev eth0 table 100
ip rule add from 192.0.2.1 lookup 100
ip -6 rule add from 2001:db8::1 lookup 100`); err != nil {
		t.Fatal(err)
	}
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	dsts := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	direct := []datapath.NextHop{{Link: "eth0"}, {Link: "eth0"}}
	byGateway := []datapath.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("192.0.2.254")}, {Link: "eth0", Gateway: netip.MustParseAddr("2001:db8::fe")}}
	for _, row := range []struct {
		sources []netip.Addr
		want    []datapath.NextHop
	}{
		{nil, direct},
		{[]netip.Addr{{}, {}}, direct},
		{own, byGateway},
		{own[:1], []datapath.NextHop{byGateway[0], direct[1]}},
	} {
		got, err := Kernel{}.NextHops(t.Context(), datapath.Scope{}, row.sources, dsts)
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("from %v: %v, %v; want %v", row.sources, got, err, row.want)
		}
	}
}
