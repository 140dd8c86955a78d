package datapath_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"flanneld/pkg/datapath"
)

// told is a kernel without anything in it. It keeps the operations that it is given.
type told struct{ ops []datapath.Op }

func (*told) Read(context.Context, datapath.Scope) (datapath.State, error) {
	return datapath.State{}, nil
}

func (t *told) Do(_ context.Context, ops []datapath.Op) error {
	t.ops = append(t.ops, ops...)
	return nil
}

// TestManyRoutesAreSpread: the kernel looks through all routes of one level for each.
func TestManyRoutesAreSpread(t *testing.T) {
	k := new(told)
	r := datapath.Reconciler{Kernel: k, Log: slog.New(slog.DiscardHandler)}
	want := datapath.State{Routes: []datapath.Route{{Dst: prefix("10.0.0.0/8"), Type: datapath.Blackhole}, {Dst: prefix("fd00::/64"), Gateway: addr("fd00::1")}}}
	const n = 52_000
	for i := range n {
		want.Routes = append(want.Routes, datapath.Route{
			Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i << 4)}), 28), Gateway: addr("192.0.2.2"), Link: "eth0",
		})
	}
	if done, err := r.Apply(t.Context(), want); done != n+2 || err != nil {
		t.Fatalf("Apply: %d operations, %v", done, err)
	}
	crowds := make(map[uint8]int)
	plain := 0 // routes that come before any with a level
	for _, op := range k.ops {
		switch route := op.Object.(datapath.Route); {
		case !route.Gateway.Is4():
			if route.Level != 0 {
				t.Errorf("%s has a level", route.Dst)
			}
		default:
			if route.Level == 0 && plain == crowds[0] && len(crowds) <= 1 {
				plain++
			}
			crowds[route.Level]++
		}
	}
	if plain != 256 || len(crowds) != 200 || crowds[0] > 2*256 || crowds[200] > 0 {
		t.Errorf("the first %d routes have no level; there are %d levels, of which the first has %d", plain, len(crowds), crowds[0])
	}
	if op, want := k.ops[2+256].String(), "ip route replace 10.0.16.0/28 via 192.0.2.2 dev eth0 proto 0 scope 1"; op != want {
		t.Errorf("the route after these is %q, want %q", op, want)
	}
}
