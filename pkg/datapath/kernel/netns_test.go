package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
)

// underlay is a veth pair, since not every kernel has dummy devices. The far
// end stays in the same namespace: nothing here sends packets. The kernel knows an
// IPv6 address as its own only some time after the command.
const underlay = `ip link set lo up
ip link add eth0 type veth
ip link set veth0 name far
ip link set far up
ip link set eth0 up
ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8::1/64 dev eth0 nodad
timeout 10 sh -c 'until ip -6 route show table local | grep -q "^local 2001:db8::1 "; do sleep 0.01; done'`

// enter puts the calling goroutine into a network namespace of its own for good:
// its thread is never unlocked, so the runtime throws it away, and the namespace
// with it.
func enter(t testing.TB) netns.NsHandle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to make network namespaces")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	if err := shell(underlay); err != nil {
		t.Fatal(err)
	}
	return ns
}

// shell runs commands in the calling thread's namespace.
func shell(script string) error {
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %q: %w: %s", script, err, out)
	}
	return nil
}

// byHand is an administrator with ip(8) and bridge(8): it runs what operations
// print, so that what we print is held to be true as well.
type byHand struct{}

func (byHand) Hand(op datapath.Op) error { return shell(op.String()) }

func (byHand) SetUp(link string, up bool) error {
	return shell("ip link set " + link + map[bool]string{true: " up", false: " down"}[up])
}
