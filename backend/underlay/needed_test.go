package underlay

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"flanneld/pkg/netlab/labtest"
)

func TestNeededIsWhatTheHostReachesNow(t *testing.T) {
	labtest.Native(t)
	labtest.OwnNamespace(t)
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/16")}
	needed := func() (texts []string) {
		t.Helper()
		all, err := Needed(networks, []netip.Addr{netip.MustParseAddr("10.6.6.6"), netip.MustParseAddr("192.0.2.1")})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			if n.What != "a DNS server" { // the machine's
				texts = append(texts, n.Prefix.String()+" "+n.What)
			}
		}
		slices.Sort(texts)
		return texts
	}
	sh := func(script string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	etcd := "10.6.6.6/32 etcd's address"
	if got := needed(); !slices.Equal(got, []string{etcd}) {
		t.Errorf("of a host without interfaces: %q", got)
	}
	sh(`ip link add eth0 type veth peer name far
ip link set eth0 up; ip link set far up
ip addr add 10.7.1.5/24 dev eth0; ip addr add 192.0.2.5/24 dev eth0; ip addr add fd00:7::5/64 dev eth0 nodad
ip link add wide type veth peer name wide-far; ip addr add 10.1.2.3/8 dev wide
ip link add flannel.1 type veth peer name over; ip addr add 10.9.1.0/32 dev flannel.1
ip route add default via 10.7.2.1 dev eth0 onlink`)
	want := []string{"10.1.2.3/32 the subnet of wide", etcd, "10.7.1.0/24 the subnet of eth0", "10.7.2.1/32 the default gateway", "fd00:7::/64 the subnet of eth0"}
	slices.Sort(want)
	if got := needed(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	sh("ip addr flush dev eth0")
	if got := needed(); slices.Contains(got, "10.7.1.0/24 the subnet of eth0") {
		t.Errorf("after the address has gone: %q", got)
	}
}

func FuzzNameservers(f *testing.F) {
	f.Add("# none\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver ::ffff:10.0.0.54\noptions edns0\nnameserver\nnameserver x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range nameservers(strings.NewReader(text)) {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				t.Errorf("%q has the server %v", text, a)
			}
		}
	})
}
