package tun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/labtest"
)

// enter puts the calling goroutine into a network namespace of its own for
// good: its thread is never unlocked, so that the runtime throws it away, and
// the namespace with it.
func enter(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("make a network namespace: %v", err)
	}
}

func mustOpen(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func ip(t testing.TB, command string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", command, err, out)
	}
}

func exists(name string) bool {
	return exec.Command("ip", "link", "show", name).Run() == nil
}

func TestOpenNamesDevices(t *testing.T) {
	labtest.Native(t)
	enter(t)
	for _, row := range []struct{ template, want string }{
		{"", "tun0"}, {"net%d", "net0"}, {"net%d", "net1"}, {"exact", "exact"},
	} {
		if got := mustOpen(t, Options{Name: row.template}).Name(); got != row.want {
			t.Errorf("%q made %s, want %s", row.template, got, row.want)
		}
	}
	if _, err := Open(Options{Name: "longer-than-any-name"}); err == nil {
		t.Error("a name that is too long was accepted")
	}
}

func TestEachRungGivesWhatItSays(t *testing.T) {
	labtest.Native(t)
	enter(t)
	full := mustOpen(t, Options{}).Features()
	if !full.Header || full.Offloads&(Checksum|TSO4) != Checksum|TSO4 {
		t.Skipf("the kernel has no TSO on TUN: %+v", full)
	}
	for name, row := range map[string]struct {
		options Options
		want    Features
	}{
		"no USO":    {Options{NoUSO: true}, Features{Header: true, Offloads: Checksum | TSO4 | TSO6}},
		"no header": {Options{NoHeader: true}, Features{}},
	} {
		if got := mustOpen(t, row.options).Features(); got != row.want {
			t.Errorf("%s: got %+v, want %+v", name, got, row.want)
		}
	}
}

func TestOffloadsHaveNames(t *testing.T) {
	for o, want := range map[Offload]string{Checksum | TSO | USO: "csum+tso4+tso6+uso4+uso6", Checksum | TSO: "csum+tso4+tso6", 0: "none"} {
		if got := o.String(); got != want {
			t.Errorf("%d is %s, want %s", o, got, want)
		}
	}
}

// echo is an ICMP echo request from 192.0.2.2 to 192.0.2.1.
var echo = []byte{
	0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0xf6, 0xdc, 192, 0, 2, 2, 192, 0, 2, 1,
	8, 0, 0xf7, 0xfd, 0, 1, 0, 1,
}

func write(q *Queue, pieces ...[]byte) unix.Errno {
	var v []unix.Iovec
	for _, p := range pieces {
		iov := unix.Iovec{Base: unsafe.SliceData(p)}
		iov.SetLen(len(p))
		v = append(v, iov)
	}
	return q.Writev(v)
}

// read waits for the next IPv4 packet that is ICMP: the kernel sends others by
// itself.
func read(t *testing.T, queues []*Queue, headerLen int) []byte {
	t.Helper()
	b := make([]byte, 2048)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		for _, q := range queues {
			n, errno := q.Read(b)
			if errno == unix.EAGAIN {
				continue
			}
			if errno != 0 {
				t.Fatal(errno)
			}
			if p := b[headerLen:n]; len(p) >= 20 && p[0]>>4 == 4 && p[9] == 1 {
				return p
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no packet in 20 s")
	return nil
}

func TestPacketsGoBothWays(t *testing.T) {
	labtest.Native(t)
	for name, o := range map[string]Options{
		"header":     {},
		"no header":  {NoHeader: true},
		"two queues": {Queues: 2},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			d := mustOpen(t, o)
			ip(t, "addr add 192.0.2.1/24 dev "+d.Name())
			ip(t, "link set up dev "+d.Name())
			var headerLen int
			if d.Features().Header {
				headerLen = HeaderLen
			}
			q := d.Queues()[0]
			if errno := write(q, make([]byte, headerLen), echo[:20], echo[20:]); errno != 0 {
				t.Fatal(errno)
			}
			reply := read(t, d.Queues(), headerLen)
			if reply[20] != 0 || string(reply[12:16]) != "\xc0\x00\x02\x01" {
				t.Errorf("got % x, want an echo reply from 192.0.2.1", reply)
			}
		})
	}
}

func TestQueueReturnsErrnos(t *testing.T) {
	labtest.Native(t)
	enter(t)
	d := mustOpen(t, Options{NoHeader: true})
	q := d.Queues()[0]
	if _, errno := q.Read(make([]byte, 100)); errno != unix.EAGAIN {
		t.Errorf("read of nothing: %v, want EAGAIN", errno)
	}
	if errno := write(q, echo); errno != unix.EIO {
		t.Errorf("write while down: %v, want EIO", errno)
	}
	ip(t, "link set up dev "+d.Name())
	if errno := write(q, []byte{0xff}); errno != unix.EINVAL {
		t.Errorf("write of nonsense: %v, want EINVAL", errno)
	}
	ip(t, "link delete "+d.Name())
	if _, errno := q.Read(make([]byte, 100)); errno != unix.EBADFD {
		t.Errorf("read after deletion: %v, want EBADFD", errno)
	}
	if errno := write(q, echo); errno != unix.EBADFD {
		t.Errorf("write after deletion: %v, want EBADFD", errno)
	}
}

func TestPersistentDeviceOutlivesItsQueues(t *testing.T) {
	labtest.Native(t)
	enter(t)
	d := mustOpen(t, Options{Name: "keep0", Persist: true})
	ip(t, "addr add 192.0.2.1/24 dev keep0")
	d.Close()
	if !exists("keep0") {
		t.Fatal("the device went with its queue")
	}
	// What the first one asked for must not stay set for a reader that would
	// not know of it.
	again := mustOpen(t, Options{Name: "keep0", NoHeader: true, Persist: true})
	ip(t, "link set up dev keep0")
	if errno := write(again.Queues()[0], echo); errno != 0 {
		t.Fatal(errno)
	}
	if reply := read(t, again.Queues(), 0); reply[20] != 0 {
		t.Errorf("got % x, want an echo reply", reply)
	}
	out, err := exec.Command("ethtool", "-k", "keep0").Output()
	if err == nil && strings.Contains(string(out), "tcp-segmentation-offload: on") {
		t.Errorf("offloads of the first queue are still on:\n%s", out)
	}
	again.Close()
	mustOpen(t, Options{Name: "keep0"}).Close()
	if exists("keep0") {
		t.Error("the device is still there")
	}
}

func TestAdoptContinues(t *testing.T) {
	labtest.Native(t)
	for name, o := range map[string]Options{
		"plain":      {Name: "net%d"},
		"no header":  {Name: "net%d", NoHeader: true},
		"two queues": {Name: "net%d", Queues: 2},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			old := mustOpen(t, o)
			var fds []int
			for _, q := range old.Queues() {
				fd, err := unix.Dup(q.FD())
				if err != nil {
					t.Fatal(err)
				}
				fds = append(fds, fd)
			}
			old.Close()
			o.Name = old.Name()
			d, err := Adopt(fds, o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Name() != old.Name() || d.Features() != old.Features() || len(d.Queues()) != len(fds) {
				t.Errorf("adopted %s %+v of %d queues, was %s %+v of %d", d.Name(), d.Features(), len(d.Queues()), old.Name(), old.Features(), len(fds))
			}
			if _, errno := d.Queues()[0].Read(make([]byte, 10)); errno != unix.EAGAIN {
				t.Errorf("read of nothing: %v, want EAGAIN", errno)
			}
		})
	}
}

// raw opens a device as another program might.
func raw(t *testing.T, name string, flags uint16) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestAdoptRefuses(t *testing.T) {
	labtest.Native(t)
	enter(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	unattached, err := os.Open("/dev/net/tun")
	if err != nil {
		t.Fatal(err)
	}
	defer unattached.Close()
	deleted := raw(t, "gone0", unix.IFF_TUN|unix.IFF_NO_PI)
	ip(t, "link delete gone0")
	plain := raw(t, "net0", unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE)
	for name, row := range map[string]struct {
		fds  []int
		want string
	}{
		"nothing":        {nil, "0 file descriptors"},
		"too many":       {[]int{plain, plain, plain}, "3 file descriptors"},
		"a TAP":          {[]int{raw(t, "net1", unix.IFF_TAP|unix.IFF_NO_PI)}, "want net0, a TUN"},
		"another name":   {[]int{raw(t, "other0", unix.IFF_TUN|unix.IFF_NO_PI)}, "want net0"},
		"a header":       {[]int{raw(t, "net2", unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_VNET_HDR)}, "want net0"},
		"another file":   {[]int{int(null.Fd())}, "something else"},
		"no device":      {[]int{int(unattached.Fd())}, "deleted"},
		"deleted":        {[]int{deleted}, "deleted"},
		"of two devices": {[]int{plain, raw(t, "net3", unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE)}, "adopt device net3: want net0"},
	} {
		queues := min(len(row.fds), 2)
		if _, err := Adopt(row.fds, Options{Name: "net0", NoHeader: true, Queues: queues}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, row.want)
		}
	}
	if _, err := unix.FcntlInt(uintptr(plain), unix.F_GETFD, 0); err != nil {
		t.Errorf("a descriptor that was refused: %v, want it open", err)
	}
}

func TestADeviceIsWhatItWas(t *testing.T) {
	labtest.Native(t)
	enter(t)
	d := mustOpen(t, Options{Name: "net0"})
	is := func(name string, want bool) {
		t.Helper()
		if got := d.Is(name); got != want {
			t.Errorf("it is %s: %t, want %t", name, got, want)
		}
	}
	is("net0", true)
	is("net1", false)
	ip(t, "link set net0 name net1")
	is("net1", true)
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(here)
	home := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), here)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	there, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(there)
	is("net1", true) // wherever the caller is
	if err := unix.Setns(here, unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ip(t, fmt.Sprintf("link set net1 netns /proc/%d/fd/%d", os.Getpid(), there))
	is("net1", false)
	if _, err := Adopt([]int{d.Queues()[0].FD()}, Options{Name: "net1"}); err == nil || !strings.Contains(err.Error(), "another network namespace") {
		t.Errorf("Adopt: %v", err)
	}
	_ = unix.Setns(there, unix.CLONE_NEWNET)
	ip(t, "link set net1 netns "+home)
	is("net1", true)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	enter(t)
	mustOpen(t, Options{Name: "taken0"})
	ip(t, "link add name veth9 type veth")
	for name, row := range map[string]struct {
		path, device string
		want         unix.Errno
		hint         string
	}{
		"no file":      {filepath.Join(t.TempDir(), "tun"), "new0", unix.ENOENT, "modprobe"},
		"in use":       {"/dev/net/tun", "taken0", unix.EBUSY, "another process"},
		"another kind": {"/dev/net/tun", "veth9", unix.EINVAL, "ip link delete veth9"},
	} {
		_, err := open(row.path, Options{Name: row.device})
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.hint) {
			t.Errorf("%s: got %v, want %v with %q", name, err, row.want, row.hint)
		}
	}
	if err := explain(unix.EPERM, "x"); !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("EPERM: got %v", err)
	}
}

func BenchmarkReadOfNothing(b *testing.B) {
	enter(b)
	q := mustOpen(b, Options{}).Queues()[0]
	buf := make([]byte, 2048)
	for b.Loop() {
		if _, errno := q.Read(buf); errno != unix.EAGAIN {
			b.Fatal(errno)
		}
	}
}
