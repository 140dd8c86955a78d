package fake

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/kerneltest"
)

func newKernel() *Kernel {
	return New(netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"))
}

func TestFake(t *testing.T) {
	kerneltest.Run(t, func(*testing.T) (kerneltest.Kernel, kerneltest.Host) {
		k := newKernel()
		return k, k
	})
}

func route(dst, gateway string) datapath.Op {
	return datapath.Op{Verb: datapath.Set, Object: datapath.Route{
		Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr(gateway), Link: "eth0",
	}}
}

func TestFailIsTheOperationsError(t *testing.T) {
	k := newKernel()
	k.Fail = func(op datapath.Op) error {
		if strings.Contains(op.String(), "10.1.") {
			return unix.ENOMEM
		}
		return nil
	}
	err := k.Do(t.Context(), []datapath.Op{route("10.1.0.0/16", "192.0.2.7"), route("10.2.0.0/16", "192.0.2.7")})
	var op *datapath.OpError
	if !errors.As(err, &op) || !errors.Is(err, unix.ENOMEM) || op.Op != route("10.1.0.0/16", "192.0.2.7") {
		t.Errorf("Do: %v", err)
	}
	const want = "ip route replace 10.2.0.0/16 via 192.0.2.7 dev eth0 proto 0\n"
	if !strings.Contains(k.String(), want) || strings.Contains(k.String(), "10.1.") {
		t.Errorf("state is\n%s, want in it\n%s", k, want)
	}
}

func TestDoStopsWhenContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	k := newKernel()
	k.Fail = func(datapath.Op) error { cancel(); return nil }
	err := k.Do(ctx, []datapath.Op{route("10.1.0.0/16", "192.0.2.7"), route("10.2.0.0/16", "192.0.2.7")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v, want context.Canceled", err)
	}
	if got := k.String(); !strings.Contains(got, " 10.1.") || strings.Contains(got, " 10.2.") {
		t.Errorf("state is\n%s, want the first route only", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	k := newKernel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				_ = k.Do(t.Context(), []datapath.Op{route("10.1.0.0/16", "192.0.2.7")})
				_, _ = k.Read(t.Context(), datapath.Scope{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
				_ = k.SetUp("eth0", true)
				_ = k.String()
			}
		})
	}
	wg.Wait()
	if n := strings.Count(k.String(), "ip route replace 10."); n != 1 {
		t.Errorf("%d routes, want 1", n)
	}
}
