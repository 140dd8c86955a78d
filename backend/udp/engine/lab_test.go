package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
	"flanneld/pkg/tun"
	"flanneld/pkg/udpbatch"
)

const (
	port = 8285
	mtu  = 1500 - outerLen
)

// side is a host with a container behind it and, in this process, an engine.
type side struct {
	*netlab.Host
	c      *netlab.Container
	subnet netip.Prefix
	device *tun.Device
	rung   rung
	conns  []*udpbatch.Conn
	*Engine
	stop func()
	pid  int // of the process that the engine has for itself; zero: it has none
}

// rung is what an engine does without.
type rung struct {
	tun tun.Options
	udp udpbatch.Options

	sendBuffer int // of the sockets, in bytes; 0: as large as they come
}

// newPair returns two hosts, not yet with engines. It is gone at the end of the
// test.
func newPair(t testing.TB) (a, b *side) {
	t.Helper()
	l := newLab(t)
	return newSide(t, l, "a", 1), newSide(t, l, "b", 2)
}

// newLab returns one for two engines.
func newLab(t testing.TB) *netlab.Lab {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	// Each of two engines takes a processor of this process, in place of one
	// engine in a process of its own.
	processors := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(processors + 2)
	t.Cleanup(func() { runtime.GOMAXPROCS(processors) })
	l := labtest.New(t)
	return l
}

func newSide(t testing.TB, l *netlab.Lab, name string, n int) *side {
	t.Helper()
	return newSideIn(t, l, name, n, 1)
}

// newSideIn adds one to an underlay subnet.
func newSideIn(t testing.TB, l *netlab.Lab, name string, n, subnet int) *side {
	t.Helper()
	h, err := l.Host(name, fmt.Sprintf("192.168.%d.%d/24", subnet, 10+n))
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Container("c", netip.MustParsePrefix(fmt.Sprintf("10.100.%d.1/24", n)), mtu)
	if err != nil {
		t.Fatal(err)
	}
	// Errors are sent as often as the tests provoke them.
	must(t, h.Run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"))
	return &side{Host: h, c: c, subnet: c.Addr().Masked()}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs f in a thread that is in a namespace meanwhile.
func inside(t testing.TB, namespace string, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(own)
	there, err := unix.Open("/run/netns/"+namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(there)
	must(t, unix.Setns(there, unix.CLONE_NEWNET))
	err = f()
	must(t, unix.Setns(own, unix.CLONE_NEWNET))
	// Otherwise the thread ends with the goroutine.
	runtime.UnlockOSThread()
	must(t, err)
}

func (s *side) endpoint() netip.AddrPort { return netip.AddrPortFrom(s.Addr().Addr(), port) }

// open makes the device, with its route, and the sockets.
func (s *side) open(t testing.TB, r rung) {
	t.Helper()
	r.tun.Name = "flannel%d"
	r.udp.ReusePort = r.tun.Queues > 1
	s.rung = r
	inside(t, s.Namespace.Namespace(), func() (err error) {
		if s.device, err = tun.Open(r.tun); err != nil {
			return err
		}
		for range s.device.Queues() {
			c, err := udpbatch.Listen(s.endpoint(), r.udp)
			if err != nil {
				return err
			}
			s.conns = append(s.conns, c)
			if r.sendBuffer == 0 {
				continue
			}
			if err := unix.SetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, r.sendBuffer); err != nil {
				return err
			}
		}
		return nil
	})
	s.configure(t)
	t.Cleanup(s.close)
}

// configure gives the device its addresses and its route.
func (s *side) configure(t testing.TB) {
	t.Helper()
	s.ip(t, "addr add %s/32 dev flannel0", s.subnet.Addr())
	s.ip(t, "link set flannel0 mtu %d up", mtu)
	s.ip(t, "route add 10.100.0.0/16 dev flannel0")
}

func (s *side) close() {
	if s.stop != nil {
		s.stop()
	}
	if s.device != nil {
		s.device.Close()
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.stop, s.device, s.conns = nil, nil, nil
}

// start runs an engine with the given peers.
func (s *side) start(t testing.TB, state State) {
	t.Helper()
	inside(t, s.Namespace.Namespace(), func() (err error) {
		s.Engine, err = New(Config{Sockets: s.conns, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		return err
	})
	s.Set(state)
	s.attach(t)
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	done.Go(func() { s.Run(ctx) })
	s.stop = func() {
		cancel()
		done.Wait()
		s.Engine.Close()
		s.stop = nil
	}
}

// attach gives the engine copies of the device's descriptors, so that the device
// outlives it.
func (s *side) attach(t testing.TB) {
	t.Helper()
	var fds []int
	for _, q := range s.device.Queues() {
		fd, err := unix.FcntlInt(uintptr(q.FD()), unix.F_DUPFD_CLOEXEC, 0)
		must(t, err)
		fds = append(fds, fd)
	}
	o := s.rung.tun
	o.Name = s.device.Name()
	d, err := tun.Adopt(fds, o)
	must(t, err)
	must(t, s.Attach(d))
}

// state is what the engine of s needs to reach the others.
func (s *side) state(others ...*side) State {
	st := State{Subnet: s.subnet, MTU: mtu}
	for _, o := range others {
		st.Peers = append(st.Peers, Peer{Subnet: o.subnet, Endpoint: o.endpoint()})
	}
	return st
}

// set makes the engine go by the state. A queue that has begun a round before may still
// move a packet by the last one.
func (s *side) set(t testing.TB, state State) {
	t.Helper()
	s.Set(state)
	must(t, s.Alive(t.Context()))
}

func (s *side) ip(t testing.TB, format string, args ...any) {
	t.Helper()
	must(t, s.Run2(t, "ip", strings.Fields(fmt.Sprintf(format, args...))...))
}

// Run2 runs a program in the host's namespace: Run is the engine's.
func (s *side) Run2(t testing.TB, program string, args ...string) error {
	return s.Host.Run(program, args...)
}

// connect runs engines on both.
func connect(t testing.TB, a, b *side, ra, rb rung) {
	t.Helper()
	a.open(t, ra)
	b.open(t, rb)
	a.start(t, a.state(b))
	b.start(t, b.state(a))
}

// report says where packets of this side were lost: what the engine has counted, and what
// the kernel has.
func (s *side) report() string {
	text := s.Name() + ":"
	for i, n := range s.Counters() {
		if n > 0 {
			text += fmt.Sprintf(" %s %d,", Counter(i), n)
		}
	}
	for _, command := range []string{"-s neigh", "-s link"} {
		out, err := s.Host.Output("ip", strings.Fields(command)...)
		if err != nil {
			out = err.Error()
		}
		text += "\n" + out
	}
	return text
}

// drops fails the test if an engine dropped IPv4 packets for another reason
// than the given ones.
func (s *side) drops(t testing.TB, allowed ...Counter) {
	t.Helper()
	c := s.Counters()
	for _, way := range []Counter{Tx, Rx} {
		for reason := IPv6; reason < perDirection; reason++ {
			if n := c[way+reason]; n > 0 && reason != IPv6 && !slices.Contains(allowed, reason) {
				t.Errorf("%s: %s is %d", s.Name(), way+reason, n)
			}
		}
	}
}

func needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}
