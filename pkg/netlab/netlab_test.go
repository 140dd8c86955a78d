package netlab

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// newLab returns a lab that is closed at the end of the test, or skips it.
func newLab(t *testing.T) *Lab {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skipf("skipping: %v", err)
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func newHost(t *testing.T, l *Lab, name, addr string) *Host {
	t.Helper()
	h, err := l.Host(name, addr)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ping(from interface {
	Run(string, ...string) error
}, to netip.Addr) error {
	return from.Run("ping", "-c1", "-W2", "-q", to.String())
}

func TestHostsReachEachOtherOnAndAcrossSubnets(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a", "192.168.1.11/24")
	b := newHost(t, l, "b", "192.168.1.12/24")
	c := newHost(t, l, "c", "192.168.2.11/24")
	for _, to := range []*Host{b, c} {
		if err := ping(a, to.Addr().Addr()); err != nil {
			t.Errorf("a to %s: %v", to.Name(), err)
		}
	}
	if err := ping(c, netip.MustParseAddr("192.168.1.1")); err != nil {
		t.Errorf("c to the switch: %v", err)
	}
	// One hop on a subnet, two across: the switch forwards only what it must.
	for to, want := range map[*Host]bool{b: true, c: false} {
		err := a.Run("ping", "-c1", "-W1", "-q", "-t1", to.Addr().Addr().String())
		if direct := err == nil; direct != want {
			t.Errorf("%s is one hop away: %v, want %v (%v)", to.Name(), direct, want, err)
		}
	}
}

func TestHostRejects(t *testing.T) {
	l := newLab(t)
	newHost(t, l, "a", "192.168.1.11/24")
	for name, row := range map[string]struct{ name, addr string }{
		"no prefix length":        {"b", "192.168.1.12"},
		"the switch's address":    {"b", "192.168.1.1/24"},
		"the subnet's address":    {"b", "192.168.1.0/24"},
		"IPv6":                    {"b", "fd00::2/64"},
		"overlapping subnet":      {"b", "192.168.1.12/25"},
		"a name twice":            {"a", "192.168.1.12/24"},
		"the switch's name":       {"switch", "192.168.1.12/24"},
		"a name with a slash":     {"a/b", "192.168.1.12/24"},
		"a name that is too long": {"abcdefghijklm", "192.168.1.12/24"},
	} {
		if _, err := l.Host(row.name, row.addr); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	newHost(t, l, "b", "192.168.1.12/24") // nothing is left of the failures
}

func TestContainersReachEachOtherOverRoutes(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a", "192.168.1.11/24")
	b := newHost(t, l, "b", "192.168.1.12/24")
	const mtu = 1400
	ca, err := a.Container("c1", netip.MustParsePrefix("10.100.5.1/24"), mtu)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := b.Container("c1", netip.MustParsePrefix("10.100.6.1/24"), mtu)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cb.Addr(), netip.MustParsePrefix("10.100.6.2/24"); got != want {
		t.Errorf("container has %s, want %s", got, want)
	}
	if ping(ca, cb.Addr().Addr()) == nil {
		t.Error("containers reach each other before there is a route")
	}
	for _, err := range []error{
		a.Run("ip", "route", "add", "10.100.6.0/24", "via", "192.168.1.12"),
		b.Run("ip", "route", "add", "10.100.5.0/24", "via", "192.168.1.11"),
		ping(ca, cb.Addr().Addr()),
		// 28 bytes of IPv4 and ICMP headers.
		ca.Run("ping", "-c1", "-W2", "-q", "-Mdo", "-s", "1372", cb.Addr().Addr().String()),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if ca.Run("ping", "-c1", "-W1", "-q", "-Mdo", "-s", "1373", cb.Addr().Addr().String()) == nil {
		t.Error("a packet larger than the MTU left the container")
	}
	second, err := a.Container("c2", netip.MustParsePrefix("10.100.5.1/24"), mtu)
	if err != nil {
		t.Fatal(err)
	}
	if err := ping(second, ca.Addr().Addr()); err != nil {
		t.Errorf("between containers of one host: %v", err)
	}
	if _, err := a.Container("c3", netip.MustParsePrefix("10.100.7.1/24"), mtu); err == nil {
		t.Error("a second bridge address was accepted")
	}
}

func TestRebootRemovesWhatWasAdded(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a", "192.168.1.11/24")
	b := newHost(t, l, "b", "192.168.1.12/24")
	before, err := a.Output("ip", "route")
	if err != nil {
		t.Fatal(err)
	}
	bridge := netip.MustParsePrefix("10.100.5.1/24")
	if _, err := a.Container("c1", bridge, 1500); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"link add tun.1 type vxlan id 1 dev eth0 dstport 8472",
		"link add kept type bridge",
		"link set tun.1 up",
		"route add 10.100.6.0/24 via 192.168.1.12",
		"route add blackhole 10.100.0.0/16",
		"neigh add 192.168.1.99 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
	} {
		if err := a.Run("ip", strings.Fields(args)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Reboot("tun*", "absent"); err != nil {
		t.Fatal(err)
	}
	after, err := a.Output("ip", "route")
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("routes after the reboot:\n%sbefore:\n%s", after, before)
	}
	links, err := a.links([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"kept"}; !slices.Equal(links, want) {
		t.Errorf("devices left: %q, want %q", links, want)
	}
	if neigh, err := a.Output("ip", "neigh"); err != nil || strings.Contains(neigh, "192.168.1.99") {
		t.Errorf("neighbours left: %q, %v", neigh, err)
	}
	if err := ping(a, b.Addr().Addr()); err != nil {
		t.Error(err)
	}
	if _, err := a.Container("c1", bridge, 1500); err != nil {
		t.Errorf("add the container again: %v", err)
	}
}

func TestSwitchIsNoHost(t *testing.T) {
	l := newLab(t)
	if err := l.Switch().Reboot(); err == nil {
		t.Error("the switch was rebooted")
	}
	if _, err := l.Switch().Container("c1", netip.MustParsePrefix("10.100.5.1/24"), 1500); err == nil {
		t.Error("the switch got a container")
	}
}

func TestCloseNamesProcessesLeft(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a", "192.168.1.11/24")
	cmd := a.Command(context.Background(), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Only when cat has answered has ip entered the namespace and become it.
	if _, err := io.WriteString(in, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	err = l.Close()
	if err == nil || !strings.Contains(err.Error(), a.Namespace.Namespace()) {
		t.Errorf("Close() = %v, want an error that names %s", err, a.Namespace.Namespace())
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close() = %v", err)
	}
	if list, err := output("ip", "netns", "list"); err != nil || strings.Contains(list, l.prefix) {
		t.Errorf("namespaces left: %q, %v", list, err)
	}
}

func TestIPv6BesideIPv4(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a", "192.168.1.11/24")
	b := newHost(t, l, "b", "192.168.2.11/24")
	for _, err := range []error{a.AddIPv6("fd00:1::11/64"), b.AddIPv6("fd00:2::11/64")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if a.AddIPv6("fd00:1::12/64") == nil {
		t.Error("a second address: no error")
	}
	c := newHost(t, l, "c", "192.168.1.12/24")
	for _, bad := range []string{"fd00:1::12", "192.168.1.12/24", "fd00:1::1/64", "fd00:1::/64", "::ffff:192.168.1.12/120"} {
		if c.AddIPv6(bad) == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	ca, err := a.Container("c1", netip.MustParsePrefix("10.100.5.1/24"), 1500)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := b.Container("c1", netip.MustParsePrefix("10.100.6.1/24"), 1500)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		ca.AddIPv6(netip.MustParsePrefix("fd00:100:0:5::1/64")), cb.AddIPv6(netip.MustParsePrefix("fd00:100:0:6::1/64")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := cb.Addr6(), netip.MustParsePrefix("fd00:100:0:6::2/64"); got != want {
		t.Errorf("container has %s, want %s", got, want)
	}
	if err := a.Reboot(); err != nil {
		t.Fatal(err)
	}
	if err := ping(a, netip.MustParseAddr("fd00:2::11")); err != nil {
		t.Errorf("across subnets, after a reboot: %v", err)
	}
	if err := ping(b, cb.Addr6().Addr()); err != nil {
		t.Errorf("from the host to its container: %v", err)
	}
}

func TestRenewAndMove(t *testing.T) {
	l := newLab(t)
	h, err := l.Host("h", "192.168.1.11/24")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Host("other", "192.168.2.11/24"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Run("ip", "link", "add", "name", "br9", "type", "bridge"); err != nil {
			t.Fatal(err)
		}
		if err := h.Renew(); err != nil {
			t.Fatal(err)
		}
		if err := h.Run("ip", "link", "show", "br9"); err == nil {
			t.Error("a device is still there after the namespace was made anew")
		}
		if err := h.Run("ping", "-c1", "-W2", "192.168.2.11"); err != nil {
			t.Error(err)
		}
	}
	if err := h.Move("192.168.2.12/24"); err != nil {
		t.Fatal(err)
	}
	if err := h.Run("ping", "-c1", "-W2", "192.168.2.11"); err != nil {
		t.Error(err)
	}
	if route, err := h.Output("ip", "route", "get", "192.168.2.11"); err != nil || strings.Contains(route, "via") {
		t.Errorf("route to a host on the same subnet is %q, %v", route, err)
	}
	if err := l.Switch().Renew(); err == nil {
		t.Error("the switch was renewed")
	}
}
