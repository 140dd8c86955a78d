package udp

import (
	"testing"

	"flanneld/backend/backendtest"
	"flanneld/pkg/datapath"
)

// TestOutlineWantsWhatTheDaemonHasMade compares it with what a backend that forwards has made.
func TestOutlineWantsWhatTheDaemonHasMade(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	p := h.Params()
	b, err := newSteady(`{"Type":"udp"}`, p)
	if err != nil {
		t.Fatal(err)
	}
	planes := backendtest.IPv4(backendtest.Peer(2), backendtest.Peer(3))
	if err := h.Set(t.Context(), b, planes); err != nil {
		t.Fatal(err)
	}
	differ := func() (all []string) {
		plan, err := Outline(p, Options{Port: defaultPort}).Plan(t.Context(), planes)
		if err != nil {
			t.Fatal(err)
		}
		scope := p.Scope
		scope.Links = []string{plan.State.Links[0].Name}
		have, err := p.Kernel.Read(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		ops, _ := datapath.Mend(plan.State, have)
		for _, op := range ops {
			all = append(all, op.String())
		}
		return all
	}
	if ops := differ(); len(ops) > 0 {
		t.Errorf("of what is right: %q", ops)
	}
	h.Remove(t, datapath.Route{Dst: planes[0].Network, Link: "flannel0", Protocol: p.Scope.Protocol})
	if ops := differ(); len(ops) != 1 || ops[0][:len("ip route replace 10.5.0.0/16 dev flannel0")] != "ip route replace 10.5.0.0/16 dev flannel0" {
		t.Errorf("without the route: %q", ops)
	}
	if got := Outline(p, Options{}); got.MTU() != b.MTU() || got.Type() != b.Type() {
		t.Errorf("MTU %d, type %q", got.MTU(), got.Type())
	}
}
