package backendtest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet/config"
)

// Run holds a backend, configured with the Backend object, to what every one
// must do.
func Run(t *testing.T, newBackend New, config string) {
	for name, f := range map[string]func(t *testing.T, newBackend New, config string){
		"warns of unknown options":          warnsOfOptions,
		"refuses options that are none":     refusesNoObject,
		"puts back what was removed":        putsBack,
		"forwards nothing when fenced":      fences,
		"removes what was added":            removesAdded,
		"removes another backend's entries": removesOthers,
		"leaves foreign routes":             leavesForeign,
		"takes over a previous run":         takesOver,
		"Set works after an error":          worksAfterError,
		"Set ends with its context":         setEnds,
		"Run ends with its context":         runEnds,
		"Plan changes nothing":              planChangesNothing,
	} {
		t.Run(name, func(t *testing.T) { f(t, newBackend, config) })
	}
}

// Plain holds a backend to add nothing to packets and to say nothing in leases
// but its type.
func Plain(t *testing.T, newBackend New, typ string) {
	b, err := newBackend("", NewHost(t, nil).Params())
	if err != nil {
		t.Fatal(err)
	}
	c := Peer(1)
	c.Data = ""
	want := c
	if err := b.Advertise(&c); err != nil || c != want || b.Type() != typ {
		t.Errorf("Advertise: %v, %v of type %q; want no data, type %q", c, err, b.Type(), typ)
	}
	if b.MTU() != 1500 {
		t.Errorf("MTU is %d, want the interface's 1500", b.MTU())
	}
}

func warnsOfOptions(t *testing.T, newBackend New, _ string) {
	h := NewHost(t, nil)
	newOn(t, h, newBackend, `{"Type":"x","Colour":"red"}`)
	if log := h.Log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, `Ignoring an unknown option`) || !strings.Contains(log, "Colour") {
		t.Errorf("log is %s, want one warning of Colour", log)
	}
}

func refusesNoObject(t *testing.T, newBackend New, _ string) {
	_, err := newBackend(`["vxlan"]`, NewHost(t, nil).Params())
	if _, ok := errors.AsType[*config.Error](err); !ok {
		t.Errorf("New: %v, want a *config.Error", err)
	}
}

func peers() []byte { return []byte{2, 3, 4} }

func putsBack(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	planes := Blackhole(DualStack(peers()...))
	set(t, h, b, planes)
	want := h.String()
	for _, op := range h.Ran() {
		h.Remove(t, op.Object)
		set(t, h, b, planes)
		if d := cmp.Diff(want, h.String()); d != "" {
			t.Errorf("after the removal of %v (-want +got):\n%s", op.Object, d)
		}
	}
}

// fences wants nothing of peers left, and the network dropped behind everything else.
func fences(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	set(t, h, b, DualStack(peers()...))
	before := h.String()
	fenced := DualStack()
	for i := range fenced {
		fenced[i].Fenced = true
	}
	set(t, h, b, fenced)
	have := ours(t, h)
	for _, n := range []netip.Prefix{network4, network6} {
		want := datapath.Route{Dst: n, Type: datapath.Blackhole, Metric: 65535, Protocol: Protocol}
		if !slices.Contains(have.Routes, want) {
			t.Errorf("no %v among %v", want, have.Routes)
		}
	}
	for _, r := range have.Routes {
		for _, p := range peers() {
			if r.Dst == Peer(p).Subnet || r.Dst == Peer6(p).Subnet {
				t.Errorf("fenced, and left: %v", r)
			}
		}
	}
	set(t, h, b, DualStack(peers()...))
	if d := cmp.Diff(before, h.String()); d != "" {
		t.Errorf("after the fence (-before +after):\n%s", d)
	}
}

func removesAdded(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	set(t, h, b, DualStack(peers()...))
	want := h.String()
	for n := byte(20); n < 25; n++ {
		h.Hand(t, datapath.Route{Dst: Peer(n).Subnet, Gateway: Peer(n).PublicIP, Link: "eth0", Protocol: Protocol})
	}
	set(t, h, b, DualStack(peers()...))
	if d := cmp.Diff(want, h.String()); d != "" {
		t.Errorf("state (-want +got):\n%s", d)
	}
}

// Tunnel is what the vxlan backend leaves of VNI n with host 9 as a peer.
func Tunnel(name string, vni uint32) []datapath.Object {
	p := Peer(9)
	return []datapath.Object{
		datapath.Link{
			Name: name, Kind: "vxlan", Alias: Scope().Owner, Up: true, MTU: 1450, MAC: MAC(1),
			VXLAN: datapath.VXLAN{VNI: vni, Parent: "eth0", Local: Peer(1).PublicIP, Port: 8472},
		},
		datapath.FDBEntry{Link: name, MAC: MAC(9), Dst: p.PublicIP},
		datapath.Neigh{Link: name, IP: p.Subnet.Addr(), MAC: MAC(9)},
		datapath.Route{Dst: p.Subnet, Gateway: p.Subnet.Addr(), Link: name, OnLink: true, Protocol: Protocol},
	}
}

// Gateways is what the host-gw backend leaves with host 9 as a peer, and what
// another host with the blackhole option leaves.
func Gateways() []datapath.Object {
	p, p6 := Peer(9), Peer6(9)
	return []datapath.Object{
		datapath.Route{Dst: p.Subnet, Gateway: p.PublicIP, Link: "eth0", Protocol: Protocol},
		datapath.Route{Dst: p6.Subnet, Gateway: p6.PublicIP, Link: "eth0", Metric: 1024, Protocol: Protocol},
		datapath.Route{Dst: Peer(8).Subnet, Type: datapath.Blackhole, Metric: 65535, Protocol: Protocol},
	}
}

func removesOthers(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	h.Hand(t, Tunnel("flannel.77", 77)...)
	h.Hand(t, Gateways()...)
	set(t, h, newOn(t, h, newBackend, config), DualStack())
	have := ours(t, h)
	for _, o := range append(Tunnel("flannel.77", 77), Gateways()...) {
		r, isRoute := o.(datapath.Route)
		if isRoute && slices.ContainsFunc(have.Routes, func(h datapath.Route) bool { return h.Dst == r.Dst }) {
			t.Errorf("left: %v", r)
		}
	}
	if slices.ContainsFunc(have.Links, func(l datapath.Link) bool { return l.Name == "flannel.77" }) {
		t.Errorf("left: %v", have.Links)
	}
}

func leavesForeign(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	h.Hand(t,
		datapath.Route{Dst: Peer(9).Subnet, Gateway: Peer(9).PublicIP, Link: "eth0", Protocol: Boot},
		datapath.Route{Dst: network4, Gateway: Peer(9).PublicIP, Link: "eth0", Protocol: Boot, Metric: 7})
	set(t, h, newOn(t, h, newBackend, config), DualStack(peers()...))
	for _, op := range h.Ran() {
		if op.Verb == datapath.Delete {
			t.Errorf("did %s", op)
		}
	}
}

func takesOver(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	set(t, h, newOn(t, h, newBackend, config), Blackhole(DualStack(peers()...)))
	h.Ran()
	h.Files = Files{} // the device knows its MAC itself
	set(t, h, newOn(t, h, newBackend, config), Blackhole(DualStack(peers()...)))
	if ran := h.Ran(); ran != nil {
		t.Errorf("did %v, want nothing", ran)
	}
}

func worksAfterError(t *testing.T, newBackend New, config string) {
	h, fresh := NewHost(t, nil), NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	fresh.Files = h.Files // for the MAC
	planes := Blackhole(DualStack(peers()...))
	n := 0
	h.Fail = func(datapath.Op) error {
		if n++; n%2 == 1 {
			return unix.ENOBUFS
		}
		return nil
	}
	if err := h.Set(t.Context(), b, planes); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("Set: %v, want ENOBUFS", err)
	}
	h.Fail = nil
	set(t, h, b, planes)
	set(t, fresh, newOn(t, fresh, newBackend, config), planes)
	same(t, fresh, h)
}

func setEnds(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	before := h.String()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Set(ctx, b, DualStack(peers()...)); !errors.Is(err, context.Canceled) {
		t.Errorf("Set: %v, want context.Canceled", err)
	}
	if d := cmp.Diff(before, h.String()); d != "" {
		t.Errorf("Set after the end did (-before +after):\n%s", d)
	}
}

func runEnds(t *testing.T, newBackend New, config string) {
	synctest.Test(t, func(t *testing.T) {
		b, ok := newOn(t, NewHost(t, nil), newBackend, config).(backend.Forwarder)
		if !ok {
			return // it has nothing to run
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Run ended at once: %v", err)
		default:
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// planChangesNothing wants a way in per plane, and the same plan each time.
func planChangesNothing(t *testing.T, newBackend New, config string) {
	h := NewHost(t, nil)
	b := newOn(t, h, newBackend, config)
	before := h.String()
	plan, err := b.Plan(t.Context(), Blackhole(DualStack(peers()...)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Plan(t.Context(), Blackhole(DualStack(peers()...)))
	if d := cmp.Diff(printed(plan.State), printed(again.State)); err != nil || d != "" {
		t.Errorf("second Plan: %v (-first +second):\n%s", err, d)
	}
	if len(plan.Ingress) != 2 || plan.Skipped != nil {
		t.Errorf("ingress of two planes is %v; skipped: %v", plan.Ingress, plan.Skipped)
	}
	if d := cmp.Diff(before, h.String()); d != "" || h.Ran() != nil {
		t.Errorf("Plan did (-before +after):\n%s", d)
	}
}
