package netif

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"flanneld/pkg/netlab/labtest"
)

func TestAddrsAreThoseOfEachInterface(t *testing.T) {
	labtest.Native(t) // qemu does not pass on how a link is asked for
	all, err := Addrs(func(netip.Prefix) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string][]netip.Prefix)
	for _, a := range all {
		of[a.Interface] = append(of[a.Interface], a.Prefix)
	}
	if len(of["lo"]) == 0 {
		t.Skip("the loopback interface has no address here")
	}
	for name, got := range of {
		want, err := Prefixes(name)
		if err != nil {
			t.Fatal(err)
		}
		want = slices.DeleteFunc(want, func(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() })
		if !slices.Equal(got, want) {
			t.Errorf("addresses of %s are %v, want %v", name, got, want)
		}
	}
}

func TestDumpIsRepeatedWhenInterrupted(t *testing.T) {
	for _, tt := range []struct {
		interrupted int
		want        error
	}{{0, nil}, {1, nil}, {attempts - 1, nil}, {attempts, netlink.ErrDumpInterrupted}} {
		calls := 0
		got, err := Dump(func() ([]int, error) {
			if calls++; calls <= tt.interrupted {
				return []int{0}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, nil
		})
		if !errors.Is(err, tt.want) || err == nil && !slices.Equal(got, []int{1, 2}) {
			t.Errorf("interrupted %d times: %v, %v", tt.interrupted, got, err)
		}
	}
	calls, failed := 0, errors.New("no permission")
	if _, err := Dump(func() ([]int, error) { calls++; return nil, failed }); !errors.Is(err, failed) || calls != 1 {
		t.Errorf("another error: %v after %d calls", err, calls)
	}
}
