package vxlan_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"

	"flanneld/backend/backendtest"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// TestDirectRoutingOnTheKernel follows the routing of a real host, which has two
// interfaces and a default gateway.
func TestDirectRoutingOnTheKernel(t *testing.T) {
	host := newHost(t)
	h := backendtest.NewHost(t, nil)
	p := h.Params()
	kern := kernel.Kernel{}
	p.Kernel, p.Underlay.Name, p.Underlay.V4 = kern, netlab.Uplink, host.Addr().Addr()
	b, err := newBackend(`{"DirectRouting":true}`, p)
	if err != nil {
		t.Fatal(err)
	}
	own := backendtest.Peer(1)
	if err := b.Advertise(&own); err != nil {
		t.Fatal(err)
	}
	peers := backendtest.IPv4(backendtest.Peer(2), backendtest.At(backendtest.Peer(3), "203.0.113.3"),
		backendtest.At(backendtest.Peer(4), "198.51.100.4"), backendtest.At(backendtest.Peer(5), host.Addr().Addr().String()))
	const (
		direct2 = "10.5.2.0/24 via 192.0.2.2 dev " + netlab.Uplink
		tunnel2 = "10.5.2.0/24 via 10.5.2.0 dev flannel.1"
		direct3 = "10.5.3.0/24 via 203.0.113.3 dev eth9"
		tunnel3 = "10.5.3.0/24 via 10.5.3.0 dev flannel.1"
		tunnel4 = "10.5.4.0/24 via 10.5.4.0 dev flannel.1"
		tunnel5 = "10.5.5.0/24 via 10.5.5.0 dev flannel.1"
	)
	for _, step := range []struct {
		name     string
		commands string
		want     []string
	}{
		{"neighbours on either interface", "", []string{direct2, direct3, tunnel4, tunnel5}},
		{"one is behind a gateway", "ip route add 192.0.2.2/32 via 192.0.2.253", []string{tunnel2, direct3, tunnel4, tunnel5}},
		{"by a rule", "ip route del 192.0.2.2/32; ip route add default via 192.0.2.253 table 77; ip rule add to 192.0.2.2 table 77", []string{tunnel2, direct3, tunnel4, tunnel5}},
		{"a neighbour again", "ip rule del to 192.0.2.2 table 77", []string{direct2, direct3, tunnel4, tunnel5}},
		{"an interface is down", "ip link set eth9 down", []string{direct2, tunnel3, tunnel4, tunnel5}},
		{"an interface is up", "ip link set eth9 up", []string{direct2, direct3, tunnel4, tunnel5}},
		{"a route to all by the tunnel", "ip route replace 203.0.113.0/24 dev flannel.1", []string{direct2, tunnel3, tunnel4, tunnel5}},
	} {
		if err := host.Run("sh", "-ec", step.commands); err != nil {
			t.Fatal(err)
		}
		if err := backendtest.Set(t.Context(), b, p, kern, peers); err != nil {
			t.Fatalf("%s: Set: %v", step.name, err)
		}
		out, err := host.Output("ip", "route", "show", "proto", "102")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "onlink")))
		}
		slices.Sort(got)
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, d)
		}
	}
}

// newHost makes a host that is 192.0.2.11/24, with a second interface eth9, which
// is 203.0.113.1/24, and moves the calling goroutine there until the test ends.
func newHost(t testing.TB) *netlab.Host {
	t.Helper()
	lab := labtest.New(t)
	host, err := lab.Host("a", "192.0.2.11/24")
	if err != nil {
		t.Fatal(err)
	}
	err = host.Run("sh", "-ec", `ip link add eth9 type veth peer name far9; ip link set far9 up; ip link set eth9 up
ip addr add 203.0.113.1/24 dev eth9`)
	if err != nil {
		t.Fatal(err)
	}
	enter(t, host.Namespace.Namespace())
	return host
}

func enter(t testing.TB, namespace string) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.GetFromName(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	t.Cleanup(func() {
		defer home.Close()
		if err := netns.Set(home); err != nil {
			t.Error(err)
		}
	})
	if err := netns.Set(ns); err != nil {
		t.Fatal(err)
	}
}
