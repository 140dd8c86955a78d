package udpbatch

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/labtest"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func mustListen(t testing.TB, local netip.AddrPort, o Options) *Conn {
	t.Helper()
	c, err := Listen(local, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pieces cuts b at the given places.
func pieces(b []byte, at ...int) []unix.Iovec {
	var v []unix.Iovec
	from := 0
	for _, to := range append(at, len(b)) {
		iov := unix.Iovec{Base: unsafe.SliceData(b[from:])}
		iov.SetLen(to - from)
		v = append(v, iov)
		from = to
	}
	return v
}

func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// mustSend sends all of the batch.
func mustSend(t testing.TB, c *Conn, b *SendBatch) {
	t.Helper()
	if errno := c.Send(b); errno != 0 || len(b.Refused()) > 0 {
		t.Fatalf("send: %v, refused %v", errno, b.Refused())
	}
}

// receive waits until there are messages.
func receive(t testing.TB, c *Conn, b *ReceiveBatch) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		errno := c.Receive(b)
		if errno == 0 {
			return
		}
		if errno != unix.EAGAIN || time.Now().After(deadline) {
			t.Fatalf("receive: %v", errno)
		}
		time.Sleep(time.Millisecond)
	}
}

// datagrams receives n datagrams, taking GSO batches apart.
func datagrams(t testing.TB, c *Conn, n int) [][]byte {
	t.Helper()
	var all [][]byte
	b := NewReceiveBatch(4, make([]byte, 4*(64<<10)))
	for len(all) < n {
		receive(t, c, b)
		for i := range b.Len() {
			m := b.Message(i)
			if m.Truncated {
				t.Fatalf("message %d is truncated", i)
			}
			step := m.Segment
			if step == 0 {
				step = len(m.Payload)
			}
			for p := m.Payload; len(p) > 0; p = p[min(step, len(p)):] {
				all = append(all, bytes.Clone(p[:min(step, len(p))]))
			}
		}
	}
	return all
}

func TestDatagramsArriveAsSent(t *testing.T) {
	from, to := mustListen(t, loopback, Options{}), mustListen(t, loopback, Options{})
	b := NewSendBatch(3)
	var want [][]byte
	for i, size := range []int{1, 1000, MaxPayload} {
		p := payload(size)
		want = append(want, p)
		if !b.Add(to.LocalAddr(), pieces(p, min(i, size), size/2), 0) {
			t.Fatal("no room")
		}
	}
	if b.Add(to.LocalAddr(), nil, 0) {
		t.Error("a fourth message found room for three")
	}
	if b.Len() != 3 || b.Left() != 3 {
		t.Errorf("Len %d, Left %d, want 3 and 3", b.Len(), b.Left())
	}
	mustSend(t, from, b)
	if b.Left() != 0 {
		t.Errorf("%d left", b.Left())
	}
	in := NewReceiveBatch(8, make([]byte, 8*(64<<10)))
	receive(t, to, in)
	if in.Len() != 3 {
		t.Fatalf("received %d messages, want 3", in.Len())
	}
	for i := range in.Len() {
		m := in.Message(i)
		if m.From != from.LocalAddr() || m.Segment != 0 || m.Truncated || !bytes.Equal(m.Payload, want[i]) {
			t.Errorf("message %d: from %s, %d bytes, segment %d, truncated %v", i, m.From, len(m.Payload), m.Segment, m.Truncated)
		}
	}
	if errno := to.Receive(in); errno != unix.EAGAIN || in.Len() != 0 {
		t.Errorf("then %v and %d messages, want EAGAIN and none", errno, in.Len())
	}
}

func TestBatches(t *testing.T) {
	labtest.Native(t)
	for name, row := range map[string]struct{ sender, receiver Options }{
		"both ends":     {},
		"sender only":   {receiver: Options{NoGRO: true}},
		"receiver only": {sender: Options{NoSegment: true}},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := mustListen(t, loopback, row.sender), mustListen(t, loopback, row.receiver)
			segment := 1000
			b := NewSendBatch(MaxSegments)
			p := payload(5*segment + 17)
			if from.Features().Segment {
				b.Add(to.LocalAddr(), pieces(p, 20, 2500), segment)
			} else {
				if !row.sender.NoSegment {
					t.Skip("the kernel has no UDP_SEGMENT")
				}
				for q := p; len(q) > 0; q = q[min(segment, len(q)):] {
					b.Add(to.LocalAddr(), pieces(q[:min(segment, len(q))]), 0)
				}
			}
			mustSend(t, from, b)
			got := datagrams(t, to, 6)
			for i, d := range got {
				if want := min(segment, len(p)-i*segment); len(d) != want {
					t.Errorf("datagram %d has %d bytes, want %d", i, len(d), want)
				}
			}
			if !bytes.Equal(bytes.Join(got, nil), p) {
				t.Error("the bytes differ")
			}
		})
	}
}

func TestABatchArrivesWhole(t *testing.T) {
	labtest.Native(t)
	from, to := mustListen(t, loopback, Options{}), mustListen(t, loopback, Options{})
	if !from.Features().Segment || !to.Features().GRO {
		t.Skip("the kernel has no GSO for UDP")
	}
	b := NewSendBatch(1)
	const segment = 1023
	p := payload(MaxSegments*segment - 1)
	b.Add(to.LocalAddr(), pieces(p), segment)
	mustSend(t, from, b)
	in := NewReceiveBatch(1, make([]byte, 64<<10))
	receive(t, to, in)
	if m := in.Message(0); m.Segment != segment || !bytes.Equal(m.Payload, p) {
		t.Errorf("got %d bytes in segments of %d, want %d of %d", len(m.Payload), m.Segment, len(p), segment)
	}
}

func TestSwitchedOffFeatures(t *testing.T) {
	labtest.Native(t)
	for name, row := range map[string]struct {
		o            Options
		segment, gro bool
	}{
		"no segment": {Options{NoSegment: true}, false, true},
		"no GRO":     {Options{NoGRO: true}, true, false},
	} {
		f := mustListen(t, loopback, row.o).Features()
		if f.Segment && !row.segment || f.GRO && !row.gro {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestTruncatedMessageIsMarked(t *testing.T) {
	from, to := mustListen(t, loopback, Options{}), mustListen(t, loopback, Options{})
	b := NewSendBatch(1)
	b.Add(to.LocalAddr(), pieces(payload(101)), 0)
	mustSend(t, from, b)
	in := NewReceiveBatch(1, make([]byte, 100))
	receive(t, to, in)
	if m := in.Message(0); !m.Truncated || len(m.Payload) != 100 {
		t.Errorf("truncated %v, %d bytes, want true and 100", m.Truncated, len(m.Payload))
	}
	// The mark must not stay for the next.
	b.Reset()
	b.Add(to.LocalAddr(), pieces(payload(100)), 0)
	mustSend(t, from, b)
	receive(t, to, in)
	if m := in.Message(0); m.Truncated || len(m.Payload) != 100 {
		t.Errorf("then truncated %v, %d bytes, want false and 100", m.Truncated, len(m.Payload))
	}
}

// enter puts the calling goroutine into a network namespace of its own for
// good: its thread is never unlocked, so that the runtime throws it away, and
// the namespace with it.
func enter(t testing.TB, script string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("make a network namespace: %v", err)
	}
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("run %q: %v: %s", script, err, out)
	}
}

// far is an address on a veth pair that answers to no one.
const far = `ip link set lo up
ip link add eth0 type veth
ip link set veth0 name peer0 up
ip link set eth0 up
ip addr add 192.0.2.1/24 dev eth0
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev eth0 nud permanent`

func TestRefusedMessagesAreReportedAndTheRestIsSent(t *testing.T) {
	labtest.Native(t)
	enter(t, far)
	from, to := mustListen(t, netip.MustParseAddrPort("192.0.2.1:0"), Options{}),
		mustListen(t, netip.MustParseAddrPort("192.0.2.1:0"), Options{})
	from.SetFragments(false)
	b := NewSendBatch(5)
	good, tooLarge := payload(100), payload(1600)
	unreachable := netip.MustParseAddrPort("198.51.100.1:9")
	distant := netip.MustParseAddrPort("192.0.2.2:9")
	b.Add(to.LocalAddr(), pieces(good), 0)
	b.Add(distant, pieces(tooLarge), 0)
	b.Add(to.LocalAddr(), pieces(good), 0)
	b.Add(unreachable, pieces(good), 0)
	b.Add(to.LocalAddr(), pieces(good), 0)
	if errno := from.Send(b); errno != 0 {
		t.Fatal(errno)
	}
	want := []Refusal{{1, unix.EMSGSIZE}, {3, unix.ENETUNREACH}}
	if got := b.Refused(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("refused %v, want %v", got, want)
	}
	if got := datagrams(t, to, 3); len(got) != 3 {
		t.Errorf("received %d, want 3", len(got))
	}
	b.Reset()
	if b.Len() != 0 || len(b.Refused()) != 0 {
		t.Error("something is left after Reset")
	}
}

func TestABatchTooLargeForThePathIsRefused(t *testing.T) {
	labtest.Native(t)
	enter(t, far)
	from := mustListen(t, netip.MustParseAddrPort("192.0.2.1:0"), Options{})
	from.SetFragments(false)
	if !from.Features().Segment {
		t.Skip("the kernel has no UDP_SEGMENT")
	}
	b := NewSendBatch(1)
	b.Add(netip.MustParseAddrPort("192.0.2.2:9"), pieces(payload(5000)), 1600)
	if errno := from.Send(b); errno != 0 {
		t.Fatal(errno)
	}
	refused := b.Refused()
	if len(refused) != 1 || refused[0].Errno != unix.EINVAL && refused[0].Errno != unix.EMSGSIZE {
		t.Errorf("refused %v, want EINVAL or EMSGSIZE", refused)
	}
}

func TestLargeDatagramsMayBeFragments(t *testing.T) {
	enter(t, far)
	c := mustListen(t, netip.MustParseAddrPort("192.0.2.1:0"), Options{})
	b := NewSendBatch(1)
	for _, row := range []struct {
		may     bool
		refused int
	}{{false, 1}, {true, 0}, {false, 1}} {
		c.SetFragments(row.may)
		b.Reset()
		b.Add(netip.MustParseAddrPort("192.0.2.2:9"), pieces(payload(1600)), 0)
		if errno := c.Send(b); errno != 0 || len(b.Refused()) != row.refused {
			t.Errorf("fragments %t: %v, refused %v, want %d", row.may, errno, b.Refused(), row.refused)
		}
	}
}

func TestPathProbe(t *testing.T) {
	labtest.Native(t)
	enter(t, far+"\nip route add 198.51.100.0/24 via 192.0.2.2 mtu 1300")
	p, err := NewPathProbe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, tt := range []struct {
		to   string
		want int
	}{{"192.0.2.2", 1500}, {"198.51.100.7", 1300}, {"127.0.0.1", 65535}, {"192.0.2.2", 1500}, {"198.51.100.7", 1300}} {
		if got, err := p.MTU(netip.MustParseAddr(tt.to)); got != tt.want || err != nil {
			t.Errorf("to %s: %d, %v, want %d", tt.to, got, err, tt.want)
		}
	}
	if _, err := p.MTU(netip.MustParseAddr("203.0.113.1")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a route: %v, want ENETUNREACH", err)
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	labtest.Native(t)
	c := mustListen(t, loopback, Options{})
	_, err := Listen(c.LocalAddr(), Options{})
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	for _, want := range []string{
		fmt.Sprintf("port %d", c.LocalAddr().Port()), fmt.Sprintf("process %d (", os.Getpid()),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want it to have %q", err, want)
		}
	}
	if _, err := Listen(netip.MustParseAddrPort("192.0.2.77:0"), Options{}); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("foreign address: %v, want EADDRNOTAVAIL", err)
	}
	if _, err := Listen(netip.MustParseAddrPort("[::1]:0"), Options{}); err == nil {
		t.Error("an IPv6 address was accepted")
	}
}

func TestReusePortShares(t *testing.T) {
	labtest.Native(t)
	a := mustListen(t, loopback, Options{ReusePort: true})
	b := mustListen(t, a.LocalAddr(), Options{ReusePort: true})
	if a.LocalAddr() != b.LocalAddr() {
		t.Errorf("%s and %s", a.LocalAddr(), b.LocalAddr())
	}
}

func TestBuffersAsLargeAsAllowed(t *testing.T) {
	labtest.Native(t)
	c := mustListen(t, loopback, Options{})
	// The kernel doubles the value for its own use.
	send, err := unix.GetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	if f := c.Features(); os.Geteuid() == 0 && (f.ReceiveBuffer != 2*BufferSize || send != 2*BufferSize) {
		t.Errorf("as root: %+v, %d to send, want %d", f, send, 2*BufferSize)
	}
}

// TestBuffersWithoutPrivilege drops a capability of its thread, which is not
// used for anything else.
func TestBuffersWithoutPrivilege(t *testing.T) {
	labtest.Native(t)
	if os.Geteuid() != 0 {
		t.Skip("needs a capability to drop")
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capset(&header, &data[0]); err != nil {
				return err
			}
			c, err := Listen(loopback, Options{})
			if err != nil {
				return err
			}
			defer c.Close()
			var limit int
			if b, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err != nil {
				return err
			} else if _, err := fmt.Sscan(string(b), &limit); err != nil {
				return err
			}
			if got, want := c.Features().ReceiveBuffer, 2*min(limit, BufferSize); got != want {
				return fmt.Errorf("receive buffer %d, want %d", got, want)
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAdoptContinues(t *testing.T) {
	labtest.Native(t)
	old := mustListen(t, loopback, Options{NoGRO: true})
	if err := unix.SetsockoptInt(old.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, 50000); err != nil {
		t.Fatal(err)
	}
	from := mustListen(t, loopback, Options{})
	b := NewSendBatch(1)
	b.Add(old.LocalAddr(), pieces(payload(10)), 0)
	mustSend(t, from, b)
	fd, err := unix.Dup(old.FD())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Adopt(fd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.LocalAddr() != old.LocalAddr() || c.Features() != from.Features() {
		t.Errorf("adopted %s %+v, want %s %+v", c.LocalAddr(), c.Features(), old.LocalAddr(), from.Features())
	}
	if got := datagrams(t, c, 1); len(got[0]) != 10 {
		t.Errorf("received %d bytes, want what was queued before: 10", len(got[0]))
	}
}

func TestAdoptRefuses(t *testing.T) {
	labtest.Native(t)
	socket := func(domain, kind int) int {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, fd := range map[string]int{
		"IPv6": socket(unix.AF_INET6, unix.SOCK_DGRAM), "TCP": socket(unix.AF_INET, unix.SOCK_STREAM),
		"not bound": socket(unix.AF_INET, unix.SOCK_DGRAM), "a file": int(file.Fd()),
	} {
		if c, err := Adopt(fd, Options{}); err == nil {
			t.Errorf("%s: adopted as %s", name, c.LocalAddr())
		}
	}
}

func BenchmarkGSOBatch(b *testing.B) {
	from, to := mustListen(b, loopback, Options{}), mustListen(b, loopback, Options{})
	if !from.Features().Segment || !to.Features().GRO {
		b.Skip("the kernel has no GSO for UDP")
	}
	p := payload(MaxSegments * 1000)
	v := pieces(p)
	out, in := NewSendBatch(1), NewReceiveBatch(4, make([]byte, 4*(64<<10)))
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		out.Add(to.LocalAddr(), v, 1000)
		mustSend(b, from, out)
		receive(b, to, in)
	}
}

func TestReceiveTakesNoMoreThanTheLimit(t *testing.T) {
	a, b := mustListen(t, loopback, Options{}), mustListen(t, loopback, Options{NoGRO: true})
	out, in := NewSendBatch(5), NewReceiveBatch(4, make([]byte, 4*100))
	for range 5 {
		out.Add(b.LocalAddr(), pieces([]byte("datagram")), 0)
	}
	mustSend(t, a, out)
	for _, step := range []struct{ limit, want int }{{2, 2}, {0, 1}, {9, 2}} {
		in.Limit(step.limit)
		if errno := b.Receive(in); errno != 0 || in.Len() != step.want {
			t.Errorf("with a limit of %d: %d messages (%v), want %d", step.limit, in.Len(), errno, step.want)
		}
	}
}
