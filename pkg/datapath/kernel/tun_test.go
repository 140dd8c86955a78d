package kernel

import (
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/netlab/labtest"
)

// TestOddTUNsAreReMade starts with devices that datapath's types cannot say.
func TestOddTUNsAreReMade(t *testing.T) {
	labtest.Native(t)
	want := datapath.State{Links: []datapath.Link{{
		Name: "tun7", Kind: "tun", Alias: "ours", Up: true, MTU: 1472, TUN: datapath.TUN{VnetHdr: true},
	}}}
	for name, script := range map[string]string{
		"nothing": "true",
		"a TAP":   "ip tuntap add dev tun7 mode tap vnet_hdr",
		"a veth":  "ip link add tun7 type veth",
	} {
		t.Run(name, func(t *testing.T) {
			enterWithTUN(t)
			if err := shell(script); err != nil {
				t.Fatal(err)
			}
			hold(t, want)
		})
	}
	t.Run("not persistent", func(t *testing.T) {
		enterWithTUN(t)
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq("tun7")
		if err != nil {
			t.Fatal(err)
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			t.Fatal(err)
		}
		hold(t, want)
	})
}

// TestTUNOutlivesItsUser makes what a process that is killed leaves behind.
func TestTUNOutlivesItsUser(t *testing.T) {
	labtest.Native(t)
	enterWithTUN(t)
	hold(t, datapath.State{Links: []datapath.Link{{Name: "tun7", Kind: "tun", Alias: "ours", Up: true, MTU: 1472}}})
	// The kernel notes the carrier that has gone in its own time.
	if err := shell("for try in $(seq 100); do ip link show tun7 | grep -q NO-CARRIER && exec ip route add 10.5.0.0/16 dev tun7; sleep 0.1; done; exit 1"); err != nil {
		t.Errorf("a detached device takes no route: %v", err)
	}
}

func enterWithTUN(t *testing.T) {
	t.Helper()
	enter(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
}

// hold applies the state and holds the kernel to it.
func hold(t *testing.T, want datapath.State) {
	t.Helper()
	r := datapath.Reconciler{Kernel: Kernel{}, Log: slog.New(slog.DiscardHandler),
		Scope: datapath.Scope{Owner: "ours", Links: []string{"tun7"}}}
	if _, err := r.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	have, err := r.Kernel.Read(t.Context(), r.Scope)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Links, have.Links, cmp.Comparer(func(a, b datapath.Link) bool { return a == b })); d != "" {
		out, _ := exec.Command("ip", "-d", "link", "show", "tun7").CombinedOutput()
		t.Errorf("links (-want +got):\n%s%s", d, out)
	}
}

func TestParseTUNFlags(t *testing.T) {
	for text, want := range map[string]uint64{
		"0x5801\n": unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_PERSIST,
		"0x1002\n": unix.IFF_TAP | unix.IFF_NO_PI,
		"0x1101\n": unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE,
		"":         0, "nonsense": 0, "-1": 0,
	} {
		if got := parseTUNFlags(text); got != want {
			t.Errorf("%q: %#x, want %#x", text, got, want)
		}
	}
}
