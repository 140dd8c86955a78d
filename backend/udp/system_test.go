package udp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/backendtest"
	"flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netlab/labtest"
)

// enter puts the calling goroutine into a network namespace of its own for good,
// with an interface eth0 that has the address 192.0.2.1.
func enter(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("make a network namespace: %v", err)
	}
	run(t, "ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up; ip addr add 192.0.2.1/24 dev eth0")
}

func run(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// onMachine has the parameters of a backend on this machine, whose files are kept
// in the store.
func onMachine(kept backend.Descriptors, log *bytes.Buffer, without ...string) backend.Params {
	logger := slog.New(slog.NewTextHandler(log, nil))
	p := backend.Params{Scope: backendtest.Scope(), Kernel: kernel.Kernel{}, Log: logger, Without: without, Descriptors: kept}
	p.Underlay = backend.Underlay{Name: "eth0", MTU: 1500, V4: netip.MustParseAddr("192.0.2.1")}
	p.Underlay.PublicV4 = p.Underlay.V4
	return p
}

// store keeps files as the service manager does: copies of them.
type store map[string][]int

func (s store) Take(name string) (fds []int) {
	for _, fd := range s[name] {
		if copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			fds = append(fds, copied)
		}
	}
	return fds
}

func (s store) Put(name string, fds ...int) error {
	for _, fd := range fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s[name] = append(s[name], copied)
	}
	return nil
}

func (s store) Remove(name string) error {
	for _, fd := range s[name] {
		unix.Close(fd)
	}
	delete(s, name)
	return nil
}

func (s store) close() {
	for name := range s {
		_ = s.Remove(name)
	}
}

// start makes a backend and sets one peer. The function returned ends it as a
// crash would, but for what is kept.
func start(t *testing.T, p backend.Params, options Options) (b *Backend, end func()) {
	t.Helper()
	b, err := New(p, options)
	if err != nil {
		t.Fatal(err)
	}
	setPeer(t, p, b)
	return b, func() {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

// setPeer sets host 2 as the only peer.
func setPeer(t *testing.T, p backend.Params, b *Backend) {
	t.Helper()
	if err := backendtest.Set(t.Context(), b, p, p.Kernel.(kernel.Kernel), backendtest.IPv4(backendtest.Peer(2))); err != nil {
		t.Fatal(err)
	}
}

var usual = Options{Port: defaultPort}

func TestOnTheKernel(t *testing.T) {
	labtest.Native(t)
	for name, row := range map[string]struct {
		processors, queues int
		without            []string
		want, not          string // in what ip prints of the device
	}{
		"two cores":           {2, 1, nil, "vnet_hdr on", "multi_queue"},
		"four cores":          {4, 2, nil, "multi_queue", "vnet_hdr off"},
		"sixteen cores":       {16, 4, nil, "multi_queue", "vnet_hdr off"},
		"without queues":      {16, 1, []string{"multiqueue"}, "vnet_hdr on", "multi_queue"},
		"without vnet header": {2, 1, []string{"vnet"}, "vnet_hdr off", "multi_queue"},
		"without everything":  {16, 1, []string{"gso", "gro", "uso", "vnet", "multiqueue"}, "vnet_hdr off", "multi_queue"},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(row.processors))
			kept := store{}
			defer kept.close()
			var log bytes.Buffer
			p := onMachine(kept, &log, row.without...)
			b, end := start(t, p, usual)
			device := run(t, "ip -d link show flannel0")
			if !strings.Contains(device, row.want) || strings.Contains(device, row.not) || !strings.Contains(device, "mtu 1472") {
				t.Errorf("want %q and not %q in\n%s", row.want, row.not, device)
			}
			sockets := strings.Count(run(t, "ss -Hlun"), "192.0.2.1:8285")
			if sockets != row.queues || len(kept[keptDevice]) != row.queues || len(kept[keptSockets]) != row.queues {
				t.Errorf("%d sockets, kept: %v; want %d of each", sockets, kept, row.queues)
			}
			if !b.machine.(*system).On("flannel0") || b.machine.(*system).On("flannel1") {
				t.Error("it is not on its device")
			}
			run(t, "ip link del flannel0; ip tuntap add dev flannel0 mode tun")
			if b.machine.(*system).On("flannel0") {
				t.Error("it is on another device of that name")
			}
			setPeer(t, p, b)
			if !b.machine.(*system).On("flannel0") {
				t.Error("it is not on the new device")
			}
			end()
			log.Reset()
			_, end = start(t, p, usual)
			defer end()
			if got := log.String(); !strings.Contains(got, "Sockets of the last run are in use again") ||
				!strings.Contains(got, "queues of the last run are in use again") {
				t.Errorf("log of the next run:\n%s", got)
			}
		})
	}
}

func TestWhatDoesNotFitIsClosed(t *testing.T) {
	labtest.Native(t)
	for name, row := range map[string]struct {
		after   func(*backend.Params, *Options)
		disturb string
		want    string // in the log
	}{
		"another port": {func(_ *backend.Params, o *Options) { o.Port = 7000 }, "true", "bound to 192.0.2.1:8285, want 192.0.2.1:7000"},
		"another address": {func(p *backend.Params, _ *Options) { p.Underlay.V4 = netip.MustParseAddr("192.0.2.7") },
			"ip addr add 192.0.2.7/24 dev eth0", "want 192.0.2.7:8285"},
		"more queues":      {func(*backend.Params, *Options) { runtime.GOMAXPROCS(4) }, "true", "there are 1, want 2"},
		"no header":        {func(p *backend.Params, _ *Options) { p.Without = []string{"vnet"} }, "true", "Queues of the last run do not fit"},
		"device deleted":   {nil, "ip link del flannel0", "it was deleted"},
		"device made anew": {nil, "ip link del flannel0; ip tuntap add dev flannel0 mode tun vnet_hdr", "it was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			kept := store{}
			defer kept.close()
			var log bytes.Buffer
			p, o := onMachine(kept, &log), usual
			_, end := start(t, p, o)
			end()
			run(t, row.disturb)
			log.Reset()
			if row.after != nil {
				row.after(&p, &o)
			}
			_, end = start(t, p, o)
			defer end()
			if !strings.Contains(log.String(), row.want) {
				t.Errorf("log is\n%s, want %q", &log, row.want)
			}
			// All that is open now is the new one's.
			sockets := strings.Fields(run(t, "ss -Hlun | awk '$4 !~ /:4790$/ {print $4}'"))
			if len(sockets) != len(kept[keptSockets]) || slices.Compare(slices.Compact(sockets), sockets[:1]) != 0 {
				t.Errorf("sockets %q, kept %v", sockets, kept)
			}
		})
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	labtest.Native(t)
	enter(t)
	var log bytes.Buffer
	_, end := start(t, onMachine(store{}, &log), usual)
	defer end()
	_, err := New(onMachine(store{}, &log), usual)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "192.0.2.1:8285") ||
		!strings.Contains(err.Error(), "choose another port") || !strings.Contains(err.Error(), "process ") {
		t.Errorf("New: %v", err)
	}
}
