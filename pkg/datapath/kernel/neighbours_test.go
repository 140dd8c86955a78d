package kernel

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"

	"flanneld/pkg/datapath"
)

func TestNeighboursAreThoseThatAreResolved(t *testing.T) {
	enter(t)
	if err := shell(`ip link add eth1 type veth
ip link set eth1 up
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0 nud reachable
ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:03 dev eth0 nud stale
ip neigh add 192.0.2.4 lladdr 02:00:00:00:00:04 dev eth0 nud permanent
ip neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev eth0 nud failed
ip neigh add 192.0.2.6 dev eth0 nud none
ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev eth1 nud permanent
ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev eth0 nud stale
ip neigh add proxy 192.0.2.8 dev eth0`); err != nil {
		t.Fatal(err)
	}
	k := New(nil)
	got, err := k.Neighbours(t.Context(), "eth0")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b datapath.Neigh) int { return a.IP.Compare(b.IP) })
	neigh := func(ip string, last byte) datapath.Neigh {
		return datapath.Neigh{Link: "eth0", IP: netip.MustParseAddr(ip), MAC: datapath.MAC{2, 5: last}}
	}
	want := []datapath.Neigh{neigh("192.0.2.2", 2), neigh("192.0.2.3", 3), neigh("192.0.2.4", 4), neigh("2001:db8::2", 2)}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("neighbours (-want +got):\n%s", d)
	}
	if got, err := k.Neighbours(t.Context(), "absent"); err != nil || len(got) > 0 {
		t.Errorf("neighbours on a link that is not there: %v, %v", got, err)
	}
}

// watchNeighbours runs WatchNeighbours in the namespace that the caller has entered.
func watchNeighbours(t *testing.T) (wake chan struct{}) {
	t.Helper()
	ns := enter(t)
	wake = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is in the namespace
		if err := netns.Set(ns); err != nil {
			ended <- err
			return
		}
		ended <- New(nil).WatchNeighbours(ctx, "eth0", wake)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("WatchNeighbours has not ended with its context")
		}
	})
	if !woken(wake, 10*time.Second) {
		t.Fatal("there was no token at the start")
	}
	settle(wake)
	return wake
}

func TestWatchNeighbours(t *testing.T) {
	wake := watchNeighbours(t)
	for _, row := range []struct {
		name, command string
		wakes         bool
	}{
		{"a neighbour", "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0 nud stale", true},
		{"another card", "ip neigh change 192.0.2.2 lladdr 02:00:00:00:00:03 dev eth0 nud stale", true},
		{"on another link", "ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev far nud stale", false},
		{"gone", "ip neigh del 192.0.2.2 dev eth0", true},
		{"another link of the name", "ip link set eth0 down; ip link set eth0 name old; ip link set far down; ip link set far name eth0", true},
	} {
		if err := shell(row.command); err != nil {
			t.Fatal(errors.Join(errors.New(row.name), err))
		}
		within := 300 * time.Millisecond
		if row.wakes {
			within = 10 * time.Second
		}
		if got := woken(wake, within); got != row.wakes {
			t.Errorf("%s: woken is %t", row.name, got)
		}
		settle(wake)
	}
}

func FuzzParseStation(f *testing.F) {
	var m buffer
	m.ndmsg(2, 7, resolved, 0, 0)
	f.Add(m.b)
	f.Fuzz(func(t *testing.T, p []byte) {
		if n, _, ok := parseStation(p); ok && (!n.IP.IsValid() || !n.MAC.Unicast()) {
			t.Errorf("%x is %v", p, n)
		}
	})
}
