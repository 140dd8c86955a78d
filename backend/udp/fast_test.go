package udp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"flanneld/backend/backendtest"
	"flanneld/backend/udp/fastpath"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// fakePath is a fast path that has what it is given.
type fakePath struct {
	state     fastpath.State
	announces bool
	why       string
	failed    error
	told      int // how often the state was set
}

func (*fakePath) Link() datapath.Link {
	return datapath.Link{Name: "flannel-gpe", Kind: "vxlan", Alias: backendtest.Scope().Owner, Up: true, MTU: 65000,
		VXLAN: datapath.VXLAN{Port: 4790, GPE: true}}
}

func (*fakePath) Filters(device string) []datapath.Filter {
	return []datapath.Filter{{Link: "eth0", Owner: backendtest.Scope().Owner, Program: 7, FD: 5},
		{Link: device, Egress: true, Owner: backendtest.Scope().Owner, Program: 8, FD: 6}}
}
func (p *fakePath) Set(s fastpath.State)   { p.state = s; p.told++ }
func (p *fakePath) Failed(err error)       { p.failed = err }
func (p *fakePath) Announces() bool        { return p.announces }
func (p *fakePath) Why() string            { return p.why }
func (*fakePath) InKernel() []netip.Prefix { return []netip.Prefix{backendtest.Peer(2).Subnet} }
func (*fakePath) Run(context.Context)      {}
func (*fakePath) Close()                   {}
func (*fakePath) Counters() []fastpath.Counter {
	return []fastpath.Counter{{Name: "tx_packets", Value: 9}}
}

func TestWhatALeaseAnnounces(t *testing.T) {
	for data, want := range map[string]bool{
		"": false, `{"Direct":2}`: true, `{"Direct":3,"More":[1]}`: true, `{"Direct":1}`: false, `{}`: false, `{"Direct":"2"}`: false, `[2`: false,
	} {
		if got := announces(subnet.Claim{Data: data}); got != want {
			t.Errorf("%q announces: %t", data, got)
		}
	}
	path := &fakePath{}
	b := newBackend(backendtest.NewHost(t, nil).Params(), Options{}, &fakeMachine{}, kernelPath{fastPath: path})
	for _, announced := range []bool{false, true} {
		path.announces = announced
		v4 := subnet.Claim{PublicIP: netip.MustParseAddr("192.0.2.1")}
		v6 := subnet.Claim{PublicIP: netip.MustParseAddr("2001:db8::1")}
		if err := errors.Join(b.Advertise(&v4), b.Advertise(&v6)); err != nil {
			t.Fatal(err)
		}
		if announces(v4) != announced || v6.Data != "" {
			t.Errorf("announced: %t; the claims say %q, %q", announced, v4.Data, v6.Data)
		}
	}
}

// TestFastPathIsTold of peers before its programs are attached, and of those that announce
// which are near.
func TestFastPathIsTold(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	path := &fakePath{}
	b := newBackend(h.Params(), Options{Port: defaultPort}, &fakeMachine{host: h}, kernelPath{fastPath: path})
	says, silent := backendtest.Peer(2), backendtest.Peer(3)
	says.Data = `{"Direct":2}`
	plan, err := b.Plan(t.Context(), backendtest.IPv4(says, silent))
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.State.Filters) != 2 || len(plan.State.Links) != 2 || path.told != 1 || len(path.state.Peers) != 2 {
		t.Fatalf("plan %+v, told %+v", plan, path.state)
	}
	if p := path.state.Peers; !p[0].Announces || !p[0].Near || p[1].Announces || p[1].Near {
		t.Errorf("told of %+v", p)
	}
	if !plan.Spare(plan.State.Links[1]) || plan.Spare(plan.State.Links[0]) || !plan.Spare(plan.State.Filters[0]) || plan.Spare(plan.State.Routes[0]) {
		t.Error("the plan does without the wrong things")
	}
	if c := b.Counters(); c[len(c)-1].Name != "udp_kernel_tx_packets" || c[len(c)-1].Value != 9 {
		t.Errorf("counters %v", c)
	}
}

// TestWhatTakesPacketsStays for a while after the kernel is told to keep out of it.
func TestWhatTakesPacketsStays(t *testing.T) {
	path := &fakePath{}
	k := kernelPath{why: "--udp-offload", began: time.Now()}
	k.left(datapath.State{Links: []datapath.Link{{Name: "flannel0", Kind: "tun"}, path.Link()}, Filters: path.Filters("flannel0")})
	for _, row := range []struct {
		name    string
		since   time.Duration
		partial bool
		want    int
	}{{"at first", 0, false, 1}, {"later", leftFor, false, 0}, {"while not all peers are known", leftFor, true, 1}} {
		k.began = time.Now().Add(-row.since)
		b := newBackend(backendtest.NewHost(t, nil).Params(), Options{}, &fakeMachine{}, k)
		planes := backendtest.IPv4()
		planes[0].Partial = row.partial
		plan, err := b.Plan(t.Context(), planes)
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.State.Filters) != row.want || len(plan.State.Links) != 1+row.want || row.want > 0 && plan.State.Filters[0].Egress {
			t.Errorf("%s: plan %+v", row.name, plan.State)
		}
	}
}

// TestWhatSendsPacketsStaysUntilTheEngineDoes after a restart.
func TestWhatSendsPacketsStaysUntilTheEngineDoes(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	path, changes := &fakePath{}, 0
	k := kernelPath{fastPath: path}
	old := datapath.Filter{Link: "flannel0", Egress: true, Owner: backendtest.Scope().Owner, Program: 3}
	k.left(datapath.State{Filters: []datapath.Filter{old, {Link: "eth0", Owner: old.Owner, Program: 4}}})
	params := h.Params()
	params.Changed = func() { changes++ }
	b := newBackend(params, Options{Port: defaultPort}, &fakeMachine{host: h}, k)
	for _, row := range []struct {
		name    string
		tx      uint32
		told    bool // that all is in place
		changes int
	}{{"before the engine has the device", 3, false, 1}, {"then", 8, true, 1}} {
		plan, err := b.Plan(t.Context(), backendtest.IPv4(backendtest.Peer(2)))
		if err == nil {
			err = b.Forward(backendtest.IPv4(backendtest.Peer(2)))
		}
		if err != nil {
			t.Fatal(err)
		}
		if f := plan.State.Filters; len(f) != 2 || f[0].Program != 7 || f[1].Program != row.tx || (plan.Spared != nil) != row.told || changes != row.changes {
			t.Errorf("%s: filters %+v, %d changes", row.name, f, changes)
		}
	}
}

// TestBackendDoesWithoutTheFastPath where something of it cannot be made.
func TestBackendDoesWithoutTheFastPath(t *testing.T) {
	h := backendtest.NewHost(t, nil)
	path := &fakePath{}
	b := newBackend(h.Params(), Options{Port: defaultPort}, &fakeMachine{host: h}, kernelPath{fastPath: path})
	plan, err := b.Plan(t.Context(), backendtest.IPv4(backendtest.Peer(2)))
	if err != nil {
		t.Fatal(err)
	}
	plan.State.Filters[0].Link = "missing"
	if _, _, err := plan.Apply(t.Context(), backendtest.Scope(), &datapath.Reconciler{Kernel: h, Log: h.Params().Log}); err != nil {
		t.Errorf("Apply: %v", err)
	}
	if path.failed == nil {
		t.Error("nobody was told")
	}
}
