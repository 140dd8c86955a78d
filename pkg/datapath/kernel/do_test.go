package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// TestFailuresHaveTheKernelsWords: many reasons share EINVAL and ENETUNREACH.
func TestFailuresHaveTheKernelsWords(t *testing.T) {
	labtest.Native(t)
	enter(t)
	route := datapath.Route{Dst: netip.MustParsePrefix("10.5.2.0/24"), Link: "eth0", Protocol: 77}
	for gateway, want := range map[string]unix.Errno{"203.0.113.1": unix.ENETUNREACH, "192.0.2.255": unix.EINVAL} {
		route.Gateway = netip.MustParseAddr(gateway)
		err := Kernel{}.Do(t.Context(), []datapath.Op{{Verb: datapath.Set, Object: route}})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "gateway)") {
			t.Errorf("route by %s: %v; want %v and what is wrong with the gateway", gateway, err, want)
		}
	}
}

// TestDeletionsAreNotTakenForDone when the process has hardly a descriptor left.
func TestDeletionsAreNotTakenForDone(t *testing.T) {
	labtest.Native(t)
	enter(t)
	k := Kernel{}
	route := datapath.Route{Dst: netip.MustParsePrefix("10.5.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.2"), Link: "eth0", Protocol: 77}
	if err := k.Do(t.Context(), []datapath.Op{{Verb: datapath.Set, Object: route}}); err != nil {
		t.Fatal(err)
	}
	free, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = uint64(free) + 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	failed := k.Do(t.Context(), []datapath.Op{{Verb: datapath.Delete, Object: route}})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	have, err := k.Read(t.Context(), datapath.Scope{Networks: []netip.Prefix{netip.MustParsePrefix("10.5.0.0/16")}, Protocol: 77})
	if err != nil {
		t.Fatal(err)
	}
	if there := len(have.Routes) > 0; there != (failed != nil) {
		t.Errorf("the route is there: %t; Do: %v", there, failed)
	}
}

func TestLinkRefusalsNameTheRemedy(t *testing.T) {
	over4 := tunnelLink()
	over6 := over4
	over6.VXLAN.Local = netip.MustParseAddr("2001:db8::1")
	for _, test := range []struct {
		link datapath.Link
		err  error
		want string
	}{
		{over4, unix.EOPNOTSUPP, "modprobe vxlan"},
		{over6, unix.EAFNOSUPPORT, "IPv6 is switched off"},
		{over4, unix.EADDRINUSE, "ss -lunp sport = :8472"},
		{over4, unix.EPERM, unix.EPERM.Error()},
	} {
		got := explain(test.err, test.link)
		if !errors.Is(got, test.err) || !strings.Contains(got.Error(), test.want) {
			t.Errorf("%v is %q, want in it %q", test.err, got, test.want)
		}
	}
	if err := explain(nil, over4); err != nil {
		t.Error(err)
	}
}

// TestATunnelInAnotherNamespaceIsNamed makes one here and moves it, as Docker does with
// those of its overlay networks: this host has no interface of that number then.
func TestATunnelInAnotherNamespaceIsNamed(t *testing.T) {
	labtest.Native(t)
	enter(t)
	if err := shell("ip link add moved type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472"); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("unshare", "-n", "sh", "-c", "echo; exec sleep 60")
	ready, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := shell(fmt.Sprint("ip link set moved netns ", other.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	err = makeLink(tunnelLink())
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "another network namespace") {
		t.Errorf("make: %v", err)
	}
}
