package datapath_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/datapath"
)

func TestMendPrintsWhatApplyWouldDo(t *testing.T) {
	want := with(func(s *datapath.State) { s.Routes = append(s.Routes, via("10.5.9.0/24", "192.0.2.9")) })
	foreign := via("10.5.9.0/24", "192.0.2.66")
	foreign.Protocol, foreign.Foreign = 3, true
	have := with(func(s *datapath.State) {
		s.Neighs, s.FDB[0].Dst = nil, addr("192.0.2.77")
		s.Addrs = append(s.Addrs, datapath.Addr{Link: "vx.1", Prefix: prefix("10.5.7.1/24")})
		s.Routes = append(s.Routes, foreign)
	})
	ops, blocked := datapath.Mend(want, have)
	var got []string
	for _, op := range ops {
		got = append(got, op.String())
	}
	if diff := cmp.Diff([]string{
		"bridge fdb replace 0a:00:00:00:00:02 dev vx.1 dst 192.0.2.2 self permanent",
		"ip neigh replace 10.5.2.0 lladdr 0a:00:00:00:00:02 dev vx.1 nud permanent",
		"ip addr del 10.5.7.1/24 dev vx.1",
	}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(blocked) != 1 || !errors.Is(blocked[0], datapath.ErrForeign) || !strings.HasPrefix(blocked[0].Error(), "ip route replace 10.5.9.0/24 ") {
		t.Errorf("blocked: %v", blocked)
	}
	if ops, blocked := datapath.Mend(tunnel(), tunnel()); ops != nil || blocked != nil {
		t.Errorf("of the same: %v, %v", ops, blocked)
	}
}
