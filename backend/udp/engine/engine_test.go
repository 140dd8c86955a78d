package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

func TestEveryRungCarriesEverything(t *testing.T) {
	for name, r := range map[string]rung{
		"all":           {},
		"no USO":        {tun: tun.Options{NoUSO: true}},
		"no header":     {tun: tun.Options{NoHeader: true}},
		"no segment":    {udp: udpbatch.Options{NoSegment: true}},
		"no GRO":        {udp: udpbatch.Options{NoGRO: true}},
		"two queues":    {tun: tun.Options{Queues: 2}},
		"nothing":       {tun: tun.Options{NoHeader: true}, udp: udpbatch.Options{NoSegment: true, NoGRO: true}},
		"small buffers": {sendBuffer: 20000},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t)
			connect(t, a, b, r, rung{})
			traffic(t, a, b, 4<<20)
			// Room is what small buffers have not.
			a.drops(t, NoBuffer)
			b.drops(t)
			if name != "small buffers" {
				a.drops(t)
			}
		})
	}
}

func TestOffloadsAreUsed(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	transferTCP(t, a.c, b.c, 8<<20)
	tx, rx := a.Counters(), b.Counters()
	if !a.device.Features().Header || !a.conns[0].Features().Segment || !b.conns[0].Features().GRO {
		t.Skip("the kernel does not have all of them")
	}
	// About 45 packets each, if the sender is fast; a slow one is not why we
	// are here.
	for name, n := range map[string]uint64{"packets of the device": tx[Tx+Units], "messages": tx[Tx+Messages], "messages received": rx[Rx+Messages], "packets to the device": rx[Rx+Units]} {
		if n > tx[Tx+Packets]/4 {
			t.Errorf("%d %s for %d packets", n, name, tx[Tx+Packets])
		}
	}
}

func TestTTLIsOneLessOnEachSide(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	address := b.c.Addr().Addr().String()
	// The kernels of both hosts forward it as well, and the last host needs
	// one to deliver it.
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", "-t5", address))
	for ttl, from := range map[string]string{"2": "10.100.1.0", "3": "10.100.2.0"} {
		out, err := a.c.Output("ping", "-c1", "-W5", "-t"+ttl, address)
		if err == nil || !strings.Contains(out, "From "+from) || !strings.Contains(out, "Time to live exceeded") {
			t.Errorf("TTL %s: %v, want it exceeded at %s:\n%s", ttl, err, from, out)
		}
	}
	if x, y := a.Counters()[Tx+TTLExceeded], b.Counters()[Rx+TTLExceeded]; x != 1 || y != 1 {
		t.Errorf("dropped %d and %d, want 1 and 1", x, y)
	}
}

func TestUnknownDestinationIsAnswered(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	var errno error
	inside(t, a.c.Namespace.Namespace(), func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 100, 77, 2}, Port: 9}); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1); err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("x")); err != nil {
			return err
		}
		_, errno = unix.Read(fd, make([]byte, 1))
		return nil
	})
	if errno != unix.ENETUNREACH {
		t.Errorf("got %v, want ENETUNREACH", errno)
	}
	if a.c.Run("ping", "-q", "-c1", "-W1", "10.100.77.2") == nil {
		t.Error("a ping to nowhere was answered")
	}
	if c := a.Counters(); c[Tx+NoPeer] != 2 || c[ICMP] != 1 {
		t.Errorf("dropped %d, answered %d, want 2 and 1", c[Tx+NoPeer], c[ICMP])
	}
}

func TestTooLargeForTheOverlayIsAnswered(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	s := a.state(b)
	s.MTU = 1000
	a.set(t, s)
	out, err := a.c.Output("ping", "-c1", "-W5", "-Mdo", "-s1200", b.c.Addr().Addr().String())
	if err == nil || !strings.Contains(out, "mtu = 1000") {
		t.Errorf("%v, want that the MTU is 1000:\n%s", err, out)
	}
	// TCP is told as well.
	transferTCP(t, a.c, b.c, 1<<20)
}

func TestPathMTUBelowTheOverlays(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	a.ip(t, "route add %s dev eth0 mtu 1200", b.Addr().Addr())
	address := b.c.Addr().Addr().String()
	out, err := a.c.Output("ping", "-c1", "-W5", "-Mdo", "-s1300", address)
	if err == nil || !strings.Contains(out, "mtu = 1172") {
		t.Errorf("%v, want that the MTU is 1172:\n%s", err, out)
	}
	for _, p := range a.forwarding.Load().peers() {
		eventually(t, func() bool { return p.limit.Load() == 1172 }, func() any { return p.limit.Load() })
	}
	a.c.Run("ip", "route", "flush", "cache")
	if err := a.c.Run("ping", "-q", "-c1", "-W5", "-Mdont", "-s1300", address); err != nil {
		t.Errorf("a packet that may be fragmented: %v", err)
	}
	c := a.Counters()
	if c[Fragmented] == 0 || c[Tx+TooLarge] == 0 {
		t.Errorf("sent %d in fragments, dropped %d, want some of both", c[Fragmented], c[Tx+TooLarge])
	}
	transferTCP(t, a.c, b.c, 1<<20)
	transferTCP(t, b.c, a.c, 1<<20)
}

func TestTrainsThatAreRefusedAreSentOneByOne(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	if !a.conns[0].Features().Segment {
		t.Skip("the kernel has no UDP_SEGMENT")
	}
	// The kernel refuses GSO batches without checksums, with EINVAL.
	must(t, unix.SetsockoptInt(a.conns[0].FD(), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1))
	transferTCP(t, a.c, b.c, 4<<20)
	transferUDP(t, a.c, b.c, 64, 500, 1000)
	a.drops(t)
	c := a.Counters()
	if c[Piecewise] == 0 || c[Piecewise] > 4 {
		t.Errorf("%d batches were refused, want it remembered after the first", c[Piecewise])
	}
	for _, p := range a.forwarding.Load().peers() {
		if until := time.Unix(0, p.piecewise.Load()); time.Until(until) > piecewiseFor || time.Until(until) < piecewiseFor/2 {
			t.Errorf("remembered until %s", until)
		}
		p.piecewise.Store(1) // long ago
	}
	must(t, unix.SetsockoptInt(a.conns[0].FD(), unix.SOL_SOCKET, unix.SO_NO_CHECK, 0))
	before := a.Counters()
	transferTCP(t, a.c, b.c, 4<<20)
	after := a.Counters()
	if packets, messages := after[Tx+Packets]-before[Tx+Packets], after[Tx+Messages]-before[Tx+Messages]; messages > packets/2 {
		t.Errorf("later %d messages for %d packets, want batches again", messages, packets)
	}
}

func TestUnderlayErrorsAreCountedAndPass(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	address := b.c.Addr().Addr().String()
	for _, row := range []struct {
		route string
		want  Counter
	}{{"unreachable", Unreachable}, {"prohibit", Forbidden}} {
		a.ip(t, "route add %s %s/32", row.route, b.Addr().Addr())
		if a.c.Run("ping", "-q", "-c2", "-i0.1", "-W1", address) == nil {
			t.Errorf("%s: the ping was answered", row.route)
		}
		if n := a.Counters()[Tx+row.want]; n != 2 {
			t.Errorf("%s: %d dropped as %s, want 2", row.route, n, row.want)
		}
		a.ip(t, "route delete %s %s/32", row.route, b.Addr().Addr())
		must(t, a.c.Run("ping", "-q", "-c1", "-W5", address))
	}
	a.ip(t, "link set eth0 down")
	if a.c.Run("ping", "-q", "-c1", "-W1", address) == nil {
		t.Error("eth0 down: the ping was answered")
	}
	a.ip(t, "link set eth0 up")
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", address))
	// Nobody listens: the host answers with an ICMP error.
	b.stop()
	b.conns[0].Close()
	b.conns = nil
	if a.c.Run("ping", "-q", "-c2", "-i0.1", "-W1", address) == nil {
		t.Error("the ping was answered though nobody listens")
	}
}

func TestFullSocketIsWaitedFor(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{sendBuffer: 50000}, rung{})
	// 2 MB at 100 Mbit/s are 160 ms.
	must(t, a.Host.Run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "70k", "limit", "4m"))
	before := a.Counters()[Waits]
	transferTCP(t, a.c, b.c, 2<<20)
	transferTCP(t, b.c, a.c, 2<<20)
	if n := a.Counters()[Waits] - before; n > 20000 {
		t.Errorf("%d waits: it spins", n)
	}
}

// The kernel tells nobody of what the underlay's queue has no room for, unless it
// is asked to: the packets are lost as on any full line.
func TestUnderlayWithAFullQueue(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	must(t, a.Host.Run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "50mbit", "burst", "5k", "limit", "20k"))
	before := a.Counters()
	transferTCP(t, a.c, b.c, 1<<20)
	dropped, err := a.Host.Output("tc", "-s", "qdisc", "show", "dev", "eth0")
	must(t, err)
	if !regexp.MustCompile(`dropped [1-9]`).MatchString(dropped) {
		t.Errorf("the queue has dropped nothing, so this tests nothing:\n%s", dropped)
	}
	after := a.Counters()
	if n := after[Waits] - before[Waits]; n > 20000 {
		t.Errorf("%d waits: it spins", n)
	}
	a.drops(t, NoBuffer)
}

func TestOnlyPeersGetIn(t *testing.T) {
	a, b := newPair(t)
	a.open(t, rung{})
	b.open(t, rung{})
	a.start(t, a.state(b))
	b.start(t, b.state(a))
	address := b.c.Addr().Addr().String()
	// For b, a is now somebody who has another address.
	s := b.state(a)
	s.Peers[0].Endpoint = netip.MustParseAddrPort("192.168.1.99:8285")
	var log recorder
	b.log = slog.New(&log)
	b.set(t, s)
	if a.c.Run("ping", "-q", "-c3", "-i0.1", "-W1", address) == nil {
		t.Error("a packet from an unknown address came in")
	}
	if n := b.Counters()[Rx+UnknownSender]; n != 3 {
		t.Errorf("refused %d, want 3", n)
	}
	if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "192.168.1.99") || !strings.Contains(got[0], "192.168.1.11") {
		t.Errorf("logged %q, want one line with both addresses", got)
	}
	// The answers go astray, but not for want of being let in.
	s.Allow = []netip.Prefix{netip.MustParsePrefix("192.168.1.8/29")}
	b.set(t, s)
	before := b.Counters()[Rx+Packets]
	_ = a.c.Run("ping", "-q", "-c1", "-W1", address)
	if n := b.Counters()[Rx+Packets] - before; n != 1 {
		t.Errorf("extra: %d came in, want 1", n)
	}
	s = b.state(a)
	s.Subnet = netip.MustParsePrefix("10.100.3.0/24")
	b.set(t, s)
	if a.c.Run("ping", "-q", "-c1", "-W1", address) == nil {
		t.Error("a packet to a foreign subnet came in")
	}
	s.Open = true
	b.set(t, s)
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", address))
}

func TestNonsenseIsCounted(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	a.stop()
	out, batch := a.conns[0], udpbatch.NewSendBatch(10)
	for _, p := range [][]byte{
		nil, {0x45}, append([]byte{0x60}, make([]byte, 40)...), append([]byte{0x44}, make([]byte, 30)...),
		append([]byte{0x45, 0, 0xff, 0xff}, make([]byte, 30)...),
	} {
		pieces := []unix.Iovec(nil)
		if len(p) > 0 {
			pieces = appendPiece(nil, p)
		}
		batch.Add(b.endpoint(), pieces, 0)
	}
	if errno := out.Send(batch); errno != 0 || len(batch.Refused()) > 0 {
		t.Fatal(errno, batch.Refused())
	}
	eventually(t, func() bool {
		c := b.Counters()
		return c[Rx+Malformed] == 4 && c[Rx+IPv6] == 1
	}, func() any { return b.Counters() })
}

// eventually waits for what must come.
func eventually(t testing.TB, done func() bool, is func() any) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s: %v", is())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestDeviceThatIsDownComesBack(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	b.ip(t, "link set flannel0 down")
	if a.c.Run("ping", "-q", "-c1", "-W1", b.c.Addr().Addr().String()) == nil {
		t.Error("the ping was answered")
	}
	eventually(t, func() bool { return b.Counters()[Rx+DeviceDown] > 0 }, func() any { return b.Counters() })
	if n := b.Counters()[Rx+DeviceDown]; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	b.ip(t, "link set flannel0 up")
	b.ip(t, "route add 10.100.0.0/16 dev flannel0")
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", b.c.Addr().Addr().String()))
}

func TestAnEngineTakesAnotherDevice(t *testing.T) {
	for _, queues := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
			a, b := newPair(t)
			r := rung{tun: tun.Options{Queues: queues}}
			connect(t, a, b, r, rung{})
			ping := func() { must(t, a.c.Run("ping", "-q", "-c1", "-W5", b.c.Addr().Addr().String())) }
			ping()
			if !a.On("flannel0") || a.On("flannel1") {
				t.Error("it is not on its device")
			}
			a.ip(t, "link delete flannel0")
			eventually(t, func() bool { return !a.On("flannel0") }, func() any { return "it is on a device that was deleted" })
			must(t, a.Alive(t.Context()))
			a.another(t)
			ping()
			// One that is still there is left, too.
			a.ip(t, "link set flannel0 down")
			a.ip(t, "link set flannel0 name old0")
			a.another(t)
			ping()
			if n := a.Counters()[Tx+Packets]; !a.On("flannel0") || n < 3 {
				t.Errorf("on the new device: %t; %d packets, want those of all devices", a.On("flannel0"), n)
			}
		})
	}
}

// another makes another device in place of the engine's.
func (s *side) another(t testing.TB) {
	t.Helper()
	r := s.rung
	s.device.Close()
	inside(t, s.Namespace.Namespace(), func() (err error) {
		s.device, err = tun.Open(r.tun)
		return err
	})
	s.attach(t)
	s.configure(t)
}

func TestADeviceThatIsNeverUsedIsClosed(t *testing.T) {
	a, _ := newPair(t)
	a.open(t, rung{})
	inside(t, a.Namespace.Namespace(), func() (err error) {
		a.Engine, err = New(Config{Sockets: a.conns, Log: slog.New(slog.DiscardHandler)})
		return err
	})
	exists := func() bool { return a.Host.Run("ip", "link", "show", "flannel0") == nil }
	a.attach(t)
	a.device.Close()
	if !exists() || !a.On("flannel0") {
		t.Error("the engine does not have the device")
	}
	a.Engine.Close()
	if exists() || a.On("flannel0") {
		t.Error("the device is there after Close")
	}
}

// TestFailuresPauseAQueue puts a file in the place of a socket.
func TestFailuresPauseAQueue(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	a.stop()
	inside(t, a.Namespace.Namespace(), func() (err error) {
		var log recorder
		a.Engine, err = New(Config{Sockets: a.conns, Log: slog.New(&log)})
		must(t, err)
		a.Set(a.state(b))
		null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(null)
		fd := a.conns[0].FD()
		socket, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(socket)
		must(t, unix.Dup3(null, fd, unix.O_CLOEXEC))
		a.attach(t)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { a.Run(ctx) })
		defer func() {
			cancel()
			done.Wait()
			a.Close()
		}()
		var lines []string
		eventually(t, func() bool { lines = append(lines, log.take()...); return len(lines) > 0 }, func() any { return "nothing is logged" })
		if n := a.Counters()[Rx+Other]; n > 2*maxFailures || !strings.Contains(lines[0], "pausing") {
			t.Errorf("%d calls have failed; the log has %q", n, lines)
		}
		must(t, unix.Dup3(socket, fd, unix.O_CLOEXEC))
		return a.c.Run("ping", "-q", "-c1", "-W10", b.c.Addr().Addr().String())
	})
}

// TestNextEngineContinues is a restart that keeps device and socket.
func TestNextEngineContinues(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	a.stop()
	// It waits in the queues meanwhile.
	ping := a.c.Command(t.Context(), "ping", "-q", "-c1", "-W10", b.c.Addr().Addr().String())
	must(t, ping.Start())
	a.start(t, a.state(b))
	must(t, ping.Wait())
	transferTCP(t, a.c, b.c, 1<<20)
}

func TestIdleEngineSleeps(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	for _, s := range []*side{a, b} {
		must(t, s.Host.Run("sysctl", "-qw", "net.ipv6.conf.flannel0.disable_ipv6=1"))
	}
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", b.c.Addr().Addr().String()))
	time.Sleep(2 * idleAfter)
	// On a busy machine what was under way takes longer to end.
	var n uint64
	for range 5 {
		before := a.Counters()[Waits]
		time.Sleep(time.Second)
		if n = a.Counters()[Waits] - before; n <= 10 {
			return
		}
	}
	t.Errorf("%d waits in a second, want at most 10", n)
}

func TestEngineIsAliveWhileItRuns(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	ask := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return a.Alive(ctx)
	}
	time.Sleep(2 * idleAfter) // asleep
	for range 3 {
		if err := ask(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
	a.stop()
	if err := ask(50 * time.Millisecond); err == nil {
		t.Error("an engine that was closed is alive")
	}
}

func TestThreadsEnd(t *testing.T) {
	a, b := newPair(t)
	before := runtime.NumGoroutine()
	connect(t, a, b, rung{tun: tun.Options{Queues: 2}}, rung{})
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", b.c.Addr().Addr().String()))
	start := time.Now()
	a.stop()
	b.stop()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopping took %s", d)
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= before }, func() any { return runtime.NumGoroutine() })
}

func TestUnequalNumbersAreRefused(t *testing.T) {
	a, _ := newPair(t)
	a.open(t, rung{})
	a.start(t, a.state())
	var two *tun.Device
	inside(t, a.Namespace.Namespace(), func() (err error) {
		two, err = tun.Open(tun.Options{Name: "two%d", Queues: 2})
		return err
	})
	defer two.Close()
	if err := a.Attach(two); err == nil || !a.On("flannel0") {
		t.Errorf("a device of two queues for one socket: %v", err)
	}
}

func TestQueues(t *testing.T) {
	for processors, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 8: 4, 64: 4} {
		if got := Queues(processors); got != want {
			t.Errorf("%d processors: %d queues, want %d", processors, got, want)
		}
	}
}

// TestSetWhilePacketsPass changes what an engine that is busy works by.
func TestSetWhilePacketsPass(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n = (n + 1) % 50 {
			s := a.state(b)
			for i := range n {
				s.Peers = append(s.Peers, Peer{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, 100, byte(i)}), 32), b.endpoint()})
			}
			a.Set(s)
		}
	}()
	transferTCP(t, a.c, b.c, 16<<20)
	transferTCP(t, b.c, a.c, 16<<20)
	cancel()
	<-done
	a.drops(t)
	b.drops(t)
}

func TestPacketsAreNotGarbage(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	client(t, a.c, b.c, "-n", "1M")
	var before, after runtime.MemStats
	packets := a.Counters()[Tx+Packets]
	runtime.ReadMemStats(&before)
	client(t, a.c, b.c, "-n", "100M")
	runtime.ReadMemStats(&after)
	packets = a.Counters()[Tx+Packets] - packets
	// What is allocated is for running iperf3.
	if n := after.Mallocs - before.Mallocs; n > packets/10 {
		t.Errorf("%d allocations for %d packets", n, packets)
	}
}
