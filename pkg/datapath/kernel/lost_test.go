package kernel

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"flanneld/pkg/netlab/labtest"
)

// TestWatchLostGoesOnAfterMoreThanTheQueueHolds has a host lose thousands of addresses,
// as one does whose load balancer is stopped, while nobody looks.
func TestWatchLostGoesOnAfterMoreThanTheQueueHolds(t *testing.T) {
	labtest.Native(t)
	labtest.OwnNamespace(t)
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard, held := make(chan struct{}, 1), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is in the namespace
		if err := netns.Set(here); err != nil {
			ended <- err
			return
		}
		ended <- WatchLost(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
			<-held
		})
	}()

	// An address comes and goes until that is seen: then there is a watch.
	lose := func() bool {
		t.Helper()
		for range 500 {
			flap(t, "192.0.2.1/32")
			select {
			case <-heard:
				return true
			case err := <-ended:
				t.Fatalf("WatchLost: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
		return false
	}
	if !lose() {
		t.Fatal("no loss was seen")
	}
	var batch strings.Builder
	for _, verb := range []string{"add", "del"} {
		for i := range 5000 {
			fmt.Fprintf(&batch, "addr %s 10.5.%d.%d/32 dev lo\n", verb, i>>8, i&255)
		}
	}
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = strings.NewReader(batch.String())
	if out, err := ip.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	close(held)
	for settled := false; !settled; { // what the queue has held
		select {
		case <-heard:
		case <-time.After(300 * time.Millisecond):
			settled = true
		}
	}
	if !lose() {
		t.Error("no loss was seen after those")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("WatchLost: %v", err)
	}
}

// flap adds an address and removes it.
func flap(t *testing.T, addr string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ip, ipNet, err := net.ParseCIDR(addr)
	if err != nil {
		t.Fatal(err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: ipNet.Mask}}
	for _, change := range []func(netlink.Link, *netlink.Addr) error{netlink.AddrAdd, netlink.AddrDel} {
		if err := change(lo, a); err != nil {
			t.Fatal(err)
		}
	}
}
