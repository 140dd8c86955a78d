package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/pkg/datapath"
	"flanneld/subnet"
)

// deaf is a kernel that does nothing.
type deaf struct{ backend.Kernel }

func (deaf) Do(context.Context, []datapath.Op) error { return nil }

// peers returns a plane with peers of these numbers; one that is negative has
// moved.
func peers(numbers ...int) []backend.Plane {
	p := backend.Plane{Network: netip.MustParsePrefix("10.5.0.0/16")}
	for _, n := range numbers {
		c := subnet.Claim{PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}
		c.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(max(n, -n)), 0}), 24)
		p.Peers = append(p.Peers, c)
	}
	return []backend.Plane{p}
}

// logged returns the lines that were logged since the last call, without their
// time.
func (b *bench) logged() (lines []string) {
	synctest.Wait()
	text := b.log.String()
	for line := range strings.Lines(text[b.read:]) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), " level=")
		lines = append(lines, said)
	}
	b.read = len(text)
	return lines
}

func (b *bench) wantLogged(want ...string) {
	b.Helper()
	if d := cmp.Diff(want, b.logged()); d != "" {
		b.Errorf("log (-want +got):\n%s", d)
	}
}

func TestLoopNamesPeersThatComeAndGo(t *testing.T) {
	now := peers(2, 3)
	run(t, func(b *bench) { b.loop.Planes = func() []backend.Plane { return now } }, func(b *bench) {
		step := func(p []backend.Plane) {
			now = p
			b.changed <- struct{}{}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 2 added"`)
		step(peers(2, 3))
		b.wantLogged()
		step(peers(3, 4))
		b.wantLogged(`INFO msg="Subnet removed: 10.5.2.0/24"`, `INFO msg="Subnet added: 10.5.4.0/24 via 192.0.2.4"`)
		step(peers(-3, 4))
		b.wantLogged(`INFO msg="Subnet added: 10.5.3.0/24 via 192.0.2.253"`)
		var many []int
		for n := range 30 {
			many = append(many, 10+n)
		}
		step(peers(many...))
		b.wantLogged(`INFO msg="Subnets added: 30, removed: 2" forwarding=30`)
	})
}

func TestLoopNamesPeersOnceTheyAreForwardedTo(t *testing.T) {
	fail := func(pass int) error {
		if pass < 3 {
			return errors.New("no buffers")
		}
		return nil
	}
	run(t, func(b *bench) {
		b.backend.fail = fail
		b.loop.Planes = func() []backend.Plane { return peers(2) }
	}, func(b *bench) {
		time.Sleep(time.Minute)
		b.wantLogged(`ERROR msg="Datapath is not as it should be; trying again" err="no buffers"`,
			`INFO msg="Datapath is in step again" peers=1`, `INFO msg="Forwarding to the subnets of other hosts: 1 added"`)
	})
}

// picky leaves out one peer.
type picky struct {
	*timed
	out netip.Prefix
}

func (p picky) Skipped() []netip.Prefix { return []netip.Prefix{p.out} }

func TestLoopDoesNotCountSkippedPeers(t *testing.T) {
	var told backend.Pass
	run(t, func(b *bench) {
		b.loop.Backend = picky{b.backend, netip.MustParsePrefix("10.5.3.0/24")}
		b.loop.Planes = func() []backend.Plane { return peers(2, 3, 4) }
		b.loop.Done = func(p backend.Pass) error { told = p; return nil }
	}, func(b *bench) {
		b.wantLogged()
		time.Sleep(time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 2 added"`)
		if told.Peers != 2 {
			t.Errorf("Done was told of %d peers, want 2", told.Peers)
		}
	})
}

// TestLoopTellsOfRepairs: changes count if the pass before was a success and the
// planes are the same.
func TestLoopTellsOfRepairs(t *testing.T) {
	now, ledger := peers(2), &backend.Ledger{Kernel: deaf{}}
	var changes atomic.Int32 // that each pass makes
	run(t, func(b *bench) {
		b.loop.Ledger = ledger
		b.loop.Planes = func() []backend.Plane { return now }
		b.backend.fail = func(pass int) error {
			var ops []datapath.Op
			for n := range changes.Load() {
				ops = append(ops, datapath.Op{Object: datapath.Route{Dst: peers(int(n))[0].Peers[0].Subnet, Link: "eth0", Protocol: 102}})
			}
			return ledger.Do(t.Context(), ops)
		}
		changes.Store(5)
	}, func(b *bench) {
		look := func(c chan struct{}) {
			c <- struct{}{}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		b.wantLogged(`INFO msg="Forwarding to the subnets of other hosts: 1 added"`)
		changes.Store(3)
		now = peers(2, 3)
		look(b.changed)
		b.wantLogged(`INFO msg="Subnet added: 10.5.3.0/24 via 192.0.2.3"`)
		changes.Store(2)
		look(b.noticed)
		line := `INFO msg="Others had changed the network state; it was put right" changes=%d first="ip route replace 10.5.0.0/24 dev eth0 proto 102"`
		b.wantLogged(fmt.Sprintf(line, 2))
		for range 50 {
			look(b.noticed)
		}
		b.wantLogged()
		changes.Store(0)
		time.Sleep(2 * time.Minute)
		b.wantLogged(fmt.Sprintf(line, 100))
	})
}
