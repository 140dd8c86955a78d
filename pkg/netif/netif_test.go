package netif

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

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

// ownNamespace moves the test to a network namespace of its own. Its thread is
// never unlocked, so that it ends with the test's goroutine and no other code
// runs in the namespace.
func ownNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		runtime.UnlockOSThread()
		t.Skip("a network namespace can be made by root only:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
}
