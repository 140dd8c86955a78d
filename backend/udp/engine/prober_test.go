package engine

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"flanneld/pkg/netlab"
)

// newNarrow returns two hosts with a router between them, whose MTU is less than theirs
// and which sends no ICMP error.
func newNarrow(t *testing.T, mtu int) (l *netlab.Lab, a, b *side) {
	t.Helper()
	l = newLab(t)
	a, b = newSideIn(t, l, "a", 1, 1), newSideIn(t, l, "b", 2, 2)
	must(t, l.Switch().Run("iptables", "-w", "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP"))
	widen(t, l, mtu)
	return l, a, b
}

// widen gives the router another MTU.
func widen(t *testing.T, l *netlab.Lab, mtu int) {
	t.Helper()
	for _, bridge := range []string{"br0", "br1"} {
		must(t, l.Switch().Run("ip", "link", "set", bridge, "mtu", fmt.Sprint(mtu)))
	}
}

// learns pings with full packets that must not be fragmented until the sender is told of
// another MTU.
func learns(t *testing.T, a, b *side, mtu int) {
	t.Helper()
	var out string
	eventually(t, func() bool {
		out, _ = a.c.Output("ping", "-c1", "-W0.1", "-Mdo", "-s1444", b.c.Addr().Addr().String())
		return strings.Contains(out, fmt.Sprintf("mtu = %d", mtu)) || strings.Contains(out, fmt.Sprintf("mtu=%d", mtu))
	}, func() any { return out })
}

func TestAPathThatSilentlyLosesLargePackets(t *testing.T) {
	l, a, b := newNarrow(t, 1300)
	connect(t, a, b, rung{}, rung{})
	var log recorder
	a.log, a.prober.log = slog.New(&log), slog.New(&log)
	address := b.c.Addr().Addr().String()
	// Nothing must be learnt for these.
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", "-Mdont", "-s1444", address))
	learns(t, a, b, 1300-outerLen)
	transferTCP(t, a.c, b.c, 1<<20)
	transferTCP(t, b.c, a.c, 1<<20)
	must(t, a.c.Run("ip", "route", "flush", "cache"))
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", "-Mdont", "-s1444", address))
	if a.Counters()[Fragmented] == 0 {
		t.Error("none is counted that was fragmented")
	}
	if got := log.take(); len(got) != 1 || !strings.Contains(got[0], b.Addr().Addr().String()) || !strings.Contains(got[0], "MTU of their interfaces to 1300") {
		t.Errorf("the log has %q, want one line that names the peer and the remedy", got)
	}
	// Later.
	widen(t, l, 1500)
	must(t, a.c.Run("ip", "route", "flush", "cache"))
	for _, p := range a.forwarding.Load().peers() {
		p.probed.Store(0)
	}
	eventually(t, func() bool {
		_ = a.c.Run("ip", "route", "flush", "cache")
		return a.c.Run("ping", "-q", "-c1", "-W0.1", "-Mdo", "-s1444", address) == nil
	}, func() any { return log.take() })
	if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "again") {
		t.Errorf("the log has %q, want that it is well again", got)
	}
}

func TestAnOldPeerBehindANarrowPath(t *testing.T) {
	_, a, b := newNarrow(t, 1400)
	a.open(t, rung{})
	n := startNaive(t, b, a)
	a.start(t, a.state(b))
	learns(t, a, b, 1400-outerLen)
	b.stop()
	for _, w := range n.wrong {
		t.Error(w)
	}
}

func TestAPathOfFullSizeIsLeftAlone(t *testing.T) {
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	must(t, a.c.Run("ping", "-q", "-c1", "-W5", "-Mdo", "-s1444", b.c.Addr().Addr().String()))
	for _, p := range a.forwarding.Load().peers() {
		eventually(t, func() bool { return int(p.answered.Load()) == mtu && len(a.prober.slots) == 0 }, func() any { return p.answered.Load() })
		if p.limit.Load() != 0 {
			t.Errorf("its limit is %d", p.limit.Load())
		}
		const mark = mtu + 1
		p.answered.Store(mark)
		must(t, a.c.Run("ping", "-q", "-c1", "-W5", "-Mdo", "-s1444", b.c.Addr().Addr().String()))
		if p.answered.Load() != mark || len(a.prober.slots) > 0 {
			t.Error("the path is looked at again")
		}
	}
	for _, way := range [][2]*side{{a, b}, {b, a}} {
		sent, received := func() uint64 { return way[0].Counters()[Tx+Packets] }, func() uint64 { return way[1].Counters()[Rx+Packets] }
		eventually(t, func() bool { return sent() == received() }, func() any { return []uint64{sent(), received()} })
	}
}
