package kernel

import (
	"log/slog"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// TestWhatWeNeverSetIsMended disturbs a host in ways that datapath's types
// cannot say, so that the shared suite cannot either, and compares what ip(8)
// and bridge(8) show before and after.
func TestWhatWeNeverSetIsMended(t *testing.T) {
	labtest.Native(t)
	for name, disturbance := range map[string]string{
		"source address":             "ip route replace 10.0.1.0/24 via 10.0.1.0 dev vx.1 proto 77 onlink src 192.0.2.1",
		"route MTU":                  "ip route replace 10.0.1.0/24 via 10.0.1.0 dev vx.1 proto 77 onlink mtu 1000",
		"two next hops":              "ip route replace 10.0.1.0/24 proto 77 nexthop via 10.0.1.0 dev vx.1 onlink nexthop via 10.0.2.0 dev vx.1 onlink",
		"unreachable":                "ip route replace unreachable 10.0.1.0/24 proto 77",
		"second route":               "ip route append 10.0.1.0/24 via 10.0.2.0 dev vx.1 proto 77 onlink",
		"second route in front":      "ip route prepend 10.0.1.0/24 via 10.0.2.0 dev vx.1 proto 77 onlink",
		"added with source":          "ip route add 10.0.9.0/24 dev vx.1 src 192.0.2.1 mtu 900",
		"added with two next hops":   "ip route add 10.0.9.0/24 nexthop dev vx.1 weight 1 nexthop via 10.0.2.0 dev vx.1 onlink weight 2",
		"added IPv6 next hops":       "ip route add fd00:9::/64 nexthop via fe80::1 dev vx.1 nexthop via fe80::2 dev vx.1",
		"entry with a port":          "bridge fdb replace 0a:00:00:01:00:01 dev vx.1 dst 198.18.0.1 port 1234 self permanent",
		"entry with a VNI":           "bridge fdb replace 0a:00:00:01:00:01 dev vx.1 dst 198.18.0.1 vni 9 self permanent",
		"flood entry":                "bridge fdb append 00:00:00:00:00:00 dev vx.1 dst 192.0.2.44 self permanent",
		"neighbour of another state": "ip neigh replace 10.0.1.0 lladdr 0a:00:00:01:00:01 dev vx.1 nud noarp",
		"added entry with a port":    "bridge fdb add 0a:00:00:01:00:77 dev vx.1 dst 198.18.0.1 port 1234 self permanent",
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			r := datapath.Reconciler{Kernel: Kernel{}, Scope: benchScope, Log: slog.New(slog.DiscardHandler)}
			want := hosts(2)
			want.Links = []datapath.Link{tunnelLink()}
			want.Addrs = []datapath.Addr{{Link: "vx.1", Prefix: netip.MustParsePrefix("10.0.0.0/32")}}
			apply := func() {
				t.Helper()
				if _, err := r.Apply(t.Context(), want); err != nil {
					t.Fatal(err)
				}
			}
			apply()
			before := show(t)
			if err := shell(disturbance); err != nil {
				t.Fatal(err)
			}
			if show(t) == before {
				t.Fatal("nothing is disturbed")
			}
			apply()
			apply() // a duplicate goes only when the wanted one is there
			if d := cmp.Diff(before, show(t)); d != "" {
				t.Errorf("after Apply (-want +got):\n%s", d)
			}
		})
	}
}

// show is the host as its tools show it, without what the kernel adds to IPv6.
func show(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", `ip route show; ip -6 route show | grep -v 'proto kernel' || true
ip neigh show dev vx.1 nud permanent; bridge fdb show dev vx.1 | grep -v '^33:33\|^01:'; ip -4 addr show dev vx.1 | grep inet`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestALinkThatGoesWhileTablesAreReadIsNoFailure(t *testing.T) {
	labtest.Native(t)
	enter(t)
	r, err := newReader(datapath.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.entries(4711, "gone"); err != nil {
		t.Error(err)
	}
}

func TestALinkInABridgeIsTakenOut(t *testing.T) {
	labtest.Native(t)
	enter(t)
	want := datapath.State{Links: []datapath.Link{{
		Name: "vx.1", Kind: "vxlan", Alias: "ours", Up: true, MTU: 1450, MAC: datapath.MAC{10, 0, 0, 0, 0, 1},
		VXLAN: datapath.VXLAN{VNI: 1, Parent: "eth0", Local: netip.MustParseAddr("192.0.2.1"), Port: 8472},
	}}}
	r := datapath.Reconciler{Kernel: Kernel{}, Scope: datapath.Scope{Owner: "ours", Links: []string{"vx.1"}}, Log: slog.New(slog.DiscardHandler)}
	for i, script := range []string{"true", "ip link add br7 type bridge; ip link set vx.1 master br7", "true"} {
		if err := shell(script); err != nil {
			t.Fatal(err)
		}
		n, err := r.Apply(t.Context(), want)
		if err != nil || (n > 0) != (i < 2) {
			t.Errorf("after %q: %d operations, %v", script, n, err)
		}
	}
	if have, err := r.Kernel.Read(t.Context(), r.Scope); err != nil || len(have.Links) != 1 || have.Links[0] != want.Links[0] {
		t.Errorf("links are %v, %v", have.Links, err)
	}
}
