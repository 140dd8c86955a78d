package kernel

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

const (
	soon  = 5 * time.Second        // by when a token must be there
	quiet = 300 * time.Millisecond // how long none must come
)

// watch follows the calling thread's namespace until the test ends, or until
// stop is called, which returns Watch's error.
func watch(t *testing.T, ns netns.NsHandle, scope datapath.Scope) (wake chan struct{}, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	wake = make(chan struct{}, 1)
	done := make(chan error, 1)
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is in the namespace
		err := netns.Set(ns)
		ready <- err
		if err == nil {
			err = Kernel{}.Watch(ctx, scope, "eth0", wake)
		}
		done <- err
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return wake, stop
}

func woken(wake <-chan struct{}, within time.Duration) bool {
	select {
	case <-wake:
		return true
	case <-time.After(within):
		return false
	}
}

// drain takes what is under way out of the channel.
func drain(wake <-chan struct{}) {
	for woken(wake, 100*time.Millisecond) {
	}
}

// watched is a host with a tunnel vx.1 by name, one owned.2 by its alias and
// other.3 that is none of ours, and Watch running.
func watched(t *testing.T) <-chan struct{} {
	ns := enter(t)
	// Without addresses of its own making the kernel is quiet.
	err := shell(`sysctl -qw net.ipv6.conf.default.addr_gen_mode=1
ip addr flush dev eth0 scope link
ip link add vx.1 type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472 nolearning
ip link add owned.2 type vxlan id 2 dev eth0 local 192.0.2.1 dstport 8472 nolearning
ip link set owned.2 alias ours
ip link add other.3 type vxlan id 3 local 192.0.2.1 dstport 8472 nolearning
ip link set vx.1 up; ip link set owned.2 up; ip link set other.3 up
ip addr add 10.5.1.0/32 dev vx.1
ip neigh add 10.5.2.0 lladdr 0a:00:00:00:00:02 dev vx.1 nud permanent
bridge fdb add 0a:00:00:00:00:02 dev vx.1 dst 192.0.2.2 self permanent
ip route add 10.5.2.0/24 via 10.5.2.0 dev vx.1 proto 77 onlink
ip route add 172.16.0.0/16 dev vx.1
ip link add side type veth peer name farside
ip link set side up; ip link set farside up
ip addr add 192.0.3.1/24 dev side
ip route add 10.5.8.0/24 via 192.0.3.2 dev side proto 77`)
	if err != nil {
		t.Fatal(err)
	}
	wake, _ := watch(t, ns, datapath.Scope{
		Owner: "ours", Links: []string{"vx.1"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.5.0.0/16")}, Protocol: 77,
	})
	// The first thing that is noticed shows that Watch has its socket.
	for range 50 {
		if err := shell("ip link set eth0 alias probe"); err != nil {
			t.Fatal(err)
		}
		if woken(wake, 20*time.Millisecond) {
			break
		}
	}
	drain(wake)
	return wake
}

func TestWatchTellsOfWhatConcernsUs(t *testing.T) {
	labtest.Native(t)
	wake := watched(t)
	for _, disturbance := range []string{
		"ip route del 10.5.2.0/24",
		"ip route add blackhole 10.5.7.0/24 proto boot",
		"ip route del 172.16.0.0/16",
		"ip neigh del 10.5.2.0 dev vx.1",
		"ip neigh add 10.5.3.0 lladdr 0a:00:00:00:00:03 dev vx.1 nud permanent",
		"bridge fdb del 0a:00:00:00:00:02 dev vx.1 dst 192.0.2.2 self",
		"bridge fdb add 0a:00:00:00:00:03 dev vx.1 dst 192.0.2.3 self permanent",
		"bridge fdb add 0a:00:00:00:00:03 dev owned.2 dst 192.0.2.3 self permanent",
		"ip addr del 10.5.1.0/32 dev vx.1",
		"ip addr add 10.5.9.0/32 dev owned.2",
		"ip link set vx.1 mtu 1400",
		"ip link set vx.1 address 0a:00:00:00:00:99",
		"ip link set vx.1 down",
		"ip link set vx.1 up",
		"ip link set owned.2 alias lost",
		"ip link set other.3 alias ours",
		"ip addr add 192.0.2.99/24 dev eth0",
		"ip addr del 192.0.2.99/24 dev eth0",
		"ip addr add 192.0.2.77/32 dev lo",
		"ip addr del 192.0.2.77/32 dev lo",
		"ip addr add 172.17.0.1/24 dev farside",
		"ip link set eth0 down",
		"ip link set eth0 up",
		"ip link set side down",
		"ip link set side up",
		"ip addr del 192.0.3.1/24 dev side",
		"ip route add 10.5.8.0/24 dev farside proto 77",
		"ip link set farside down",
		"ip link set vx.1 down; ip link set vx.1 name elsewhere",
		"ip link del other.3",
	} {
		if err := shell(disturbance); err != nil {
			t.Fatal(err)
		}
		if !woken(wake, soon) {
			t.Errorf("no token within %s of %q", soon, disturbance)
		}
		drain(wake)
	}
}

func TestWatchIsSilentAboutOthers(t *testing.T) {
	labtest.Native(t)
	wake := watched(t)
	for _, other := range []string{
		"ip link add veth7 type veth; ip link set veth0 name veth8; ip link set veth7 up; ip addr add 169.254.7.1/24 dev veth7 scope link; ip addr add fe80::7/64 dev veth7",
		"ip neigh add 172.17.0.9 lladdr 0a:00:00:00:00:03 dev veth7 nud permanent",
		"ip link set veth8 up; ip route add 172.18.0.0/16 dev veth7 scope link",
		"bridge fdb add 0a:00:00:00:00:09 dev other.3 dst 192.0.2.9 self permanent",
		"ip neigh add 10.5.2.9 lladdr 0a:00:00:00:00:03 dev vx.1 nud reachable",
		"ip link del veth7; ip link del other.3",
	} {
		if err := shell(other); err != nil {
			t.Fatal(err)
		}
		if woken(wake, quiet) {
			t.Errorf("a token within %s of %q", quiet, other)
		}
		drain(wake)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	labtest.Native(t)
	_, stop := watch(t, enter(t), datapath.Scope{})
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Watch: %v", err)
	}
	if took := time.Since(start); took > soon {
		t.Errorf("Watch ended after %s", took)
	}
}

func TestWatchSurvivesManyNotifications(t *testing.T) {
	labtest.Native(t)
	wake := watched(t)
	// More than a socket holds, while nobody takes tokens.
	k := Kernel{}
	for _, v := range []datapath.Verb{datapath.Set, datapath.Delete, datapath.Set} {
		var ops []datapath.Op
		for i := range 8000 {
			ops = append(ops, datapath.Op{Verb: v, Object: datapath.Route{
				Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(i >> 6), byte(i << 2)}), 30), Link: "vx.1", Protocol: 77,
			}})
		}
		if err := k.Do(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	if !woken(wake, soon) {
		t.Error("no token")
	}
	drain(wake)
	if err := shell("ip link set vx.1 mtu 1300"); err != nil {
		t.Fatal(err)
	}
	if !woken(wake, soon) {
		t.Error("no token for what came after")
	}
}
