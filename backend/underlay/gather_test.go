package underlay

import (
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/labtest"
)

func TestBadRegexpIsAnErrorFirst(t *testing.T) {
	_, err := Find(Query{Names: []string{"lo"}, Regexps: []string{"a", "("}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), `parse --iface-regex "("`) {
		t.Errorf("got %v", err)
	}
}

func TestAddrsOfOrdersAndLeavesOut(t *testing.T) {
	const permanent = unix.IFA_F_PERMANENT
	var list []netlink.Addr
	for _, a := range []struct {
		ip    string // with its length, 24 or 64 if that does not matter
		flags int
	}{
		{"10.0.0.77/32", permanent}, // keepalived's
		{"10.0.0.33/32", permanent}, // the cloud's
		{"169.254.0.1", permanent},
		{"127.0.0.2", permanent},
		{"10.0.0.9", 0},
		{"10.0.0.1", permanent},
		{"10.0.0.2", permanent | unix.IFA_F_SECONDARY},
		{"10.0.0.3", permanent},
		{"fe80::1", permanent},
		{"fd00::7", unix.IFA_F_TEMPORARY},
		{"fd00::6", 0},
		{"fd00::5", permanent},
		{"fd00::8", permanent | unix.IFA_F_TENTATIVE},
		{"fd00::4", permanent | unix.IFA_F_DADFAILED},
		{"fd00::3", permanent | unix.IFA_F_DEPRECATED},
		{"ff02::1", permanent},
	} {
		text := a.ip
		if !strings.Contains(text, "/") {
			text += map[bool]string{true: "/64", false: "/24"}[strings.Contains(text, ":")]
		}
		parsed, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed.Flags, parsed.LinkIndex = a.flags, 2
		list = append(list, *parsed)
	}
	list = append(list, netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("10.9.9.9")}, LinkIndex: 3})
	var got []string
	for _, a := range addrsOf(2, list, []defaultRoute{{source: ip("10.0.0.33")}}) {
		s := a.ip.String()
		if a.deprecated {
			s += " deprecated"
		}
		got = append(got, s)
	}
	want := []string{"10.0.0.33", "10.0.0.9", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::5", "fd00::3 deprecated", "fd00::6", "fd00::7", "fd00::8", "10.0.0.77", "169.254.0.1", "fe80::1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFindInNamespace(t *testing.T) {
	labtest.Native(t)
	labtest.OwnNamespace(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(lo))
	index := make(map[string]int)
	add := func(name string, mtu int, addrs ...string) {
		t.Helper()
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, mtu
		l := &netlink.Bridge{LinkAttrs: attrs}
		must(netlink.LinkAdd(l))
		for _, s := range addrs {
			a, err := netlink.ParseAddr(s)
			must(err)
			if strings.Contains(s, ":") {
				a.Flags = unix.IFA_F_NODAD
			}
			must(netlink.AddrAdd(l, a))
		}
		must(netlink.LinkSetUp(l))
		made, err := netlink.LinkByName(name)
		must(err)
		index[name] = made.Attrs().Index
	}
	find := func(q Query) string {
		i, err := Find(q, slog.New(slog.DiscardHandler))
		if err != nil {
			return err.Error()
		}
		if i.Index != index[i.Name] {
			t.Errorf("index of %s is %d, want %d", i.Name, i.Index, index[i.Name])
		}
		return fmt.Sprint(i.Name, " ", i.MTU, " ", i.V4, " ", i.V6)
	}
	route := func(dst, via string, metric int) {
		t.Helper()
		_, n, err := net.ParseCIDR(dst)
		must(err)
		must(netlink.RouteAdd(&netlink.Route{Dst: n, Gw: net.ParseIP(via), Priority: metric}))
	}

	add("up0", 1450, "10.1.0.2/24", "10.1.0.3/24", "10.3.0.2/24", "fd01::2/64")
	add("up1", 9000, "10.2.0.2/24", "fd02::2/64")
	add("flannel.9", 1450, "10.9.0.2/24")
	const none = "invalid IP"

	if got := find(Query{}); !strings.Contains(got, "unable to find default route") {
		t.Errorf("without a default route: %s", got)
	}
	// As some hosts have it: a default that leads nowhere.
	_, any4, _ := net.ParseCIDR("0.0.0.0/0")
	must(netlink.RouteAdd(&netlink.Route{Dst: any4, Type: unix.RTN_UNREACHABLE, Priority: 7}))
	if got := find(Query{}); !strings.Contains(got, "unable to find default route") {
		t.Errorf("with an unreachable default route: %s", got)
	}
	route("0.0.0.0/0", "10.1.0.1", 200)
	route("0.0.0.0/0", "10.2.0.1", 100)
	route("::/0", "fd02::1", 100)
	for _, tt := range []struct {
		name string
		q    Query
		want string
	}{
		{"default", Query{}, "up1 9000 10.2.0.2 " + none},
		{"default of both", Query{V6: true}, "up1 9000 10.2.0.2 fd02::2"},
		{"name", Query{Names: []string{"up0"}, V6: true}, "up0 1450 10.1.0.2 fd01::2"},
		{"an overlay's", Query{Names: []string{"flannel.9", "up1"}}, "up1 9000 10.2.0.2 " + none},
		{"address", Query{Names: []string{"10.1.0.3"}}, "up0 1450 10.1.0.3 " + none},
		{"regexp", Query{Regexps: []string{"0$"}}, "up0 1450 10.1.0.2 " + none},
		{"can reach", Query{CanReach: ip("10.1.0.77")}, "up0 1450 10.1.0.2 " + none},
		{"can reach from a second address", Query{CanReach: ip("10.3.0.77")}, "up0 1450 10.3.0.2 " + none},
		{"can reach by IPv6", Query{CanReach: ip("fd01::77"), V6: true}, "up0 1450 10.1.0.2 fd01::2"},
		{"public IP", Query{PublicIP: ip("10.1.0.3")}, "up0 1450 10.1.0.3 " + none},
	} {
		if got := find(tt.q); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}

	hops := func(links ...string) []*netlink.NexthopInfo {
		var all []*netlink.NexthopInfo
		for i, l := range links {
			gw := map[string]string{"up0": "10.1.0.", "up1": "10.2.0."}[l] + fmt.Sprint(200+i)
			all = append(all, &netlink.NexthopInfo{LinkIndex: index[l], Gw: net.ParseIP(gw)})
		}
		return all
	}
	must(netlink.RouteAdd(&netlink.Route{Dst: any4, Priority: 6, MultiPath: hops("up0", "up0")}))
	if got, want := find(Query{}), "up0 1450 10.1.0.2 "+none; got != want {
		t.Errorf("several hops of one interface: got %s, want %s", got, want)
	}
	must(netlink.RouteAdd(&netlink.Route{Dst: any4, Priority: 5, MultiPath: hops("up0", "up1")}))
	if got := find(Query{}); !strings.Contains(got, "could not determine interface") {
		t.Errorf("several hops: %s", got)
	}

	// By nexthop objects, of which the kernel tells nothing but numbers.
	for _, tt := range []struct {
		name, commands string
		want           string
	}{
		{"one object", "ip nexthop add id 1 via 10.1.0.1 dev up0; ip route add default metric 4 nhid 1", "up0 1450 10.1.0.2 " + none},
		{"several of one interface", "ip nexthop add id 2 via 10.1.0.99 dev up0; ip nexthop add id 3 group 1/2; ip route add default metric 3 nhid 3", "up0 1450 10.1.0.2 " + none},
		{"several", "ip nexthop add id 4 via 10.2.0.1 dev up1; ip nexthop add id 5 group 1/4; ip route add default metric 2 nhid 5", "could not determine interface"},
	} {
		out, err := exec.Command("sh", "-ec", "sysctl -qw net.ipv4.nexthop_compat_mode=0; "+tt.commands).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, out)
		}
		if got := find(Query{}); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
