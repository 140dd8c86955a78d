//go:build soak

package engine

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSoak runs two engines under all kinds of load for SOAKTIME, and looks at
// what may grow or get lost on the way. Contents are compared by each transfer.
func TestSoak(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("SOAKTIME"))
	if err != nil {
		t.Fatalf("parse SOAKTIME: %v", err)
	}
	a, b := newPair(t)
	connect(t, a, b, rung{}, rung{})
	mixed := newMixture(t, a, b)
	var first usage
	start := time.Now()
	for round := 0; time.Since(start) < long; round++ {
		// What a round opens it closes.
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			var wg sync.WaitGroup
			for n := range 4 {
				from, to := a.c, b.c
				if n%2 == 1 {
					from, to = to, from
				}
				run := stream(t, from, to, time.Second, 64+400*n, true)
				wg.Go(func() {
					if received, overtaken := run(); overtaken > 0 || received == 0 {
						t.Errorf("stream %d: %d of %d datagrams were overtaken", n, overtaken, received)
					}
				})
			}
			transferTCP(t, a.c, b.c, 64<<20)
			transferTCP(t, b.c, a.c, 64<<20)
			wg.Wait()
			traffic(t, a, b, 8<<20)
			mixed.transfer(t, 100)
			a.Set(a.state(b))
		})
		if t.Failed() {
			return
		}
		a.drops(t)
		b.drops(t)
		addUp(t, a, b)
		addUp(t, b, a)
		now := measure(t)
		if round == 5 {
			first = now // caches and pools are filled
		}
		if round%60 == 5 {
			t.Logf("round %d: %s: %s", round, time.Since(start).Round(time.Second), now)
		}
		if round > 5 && (now.goroutines > first.goroutines || now.files > first.files || now.memory > first.memory+16<<20) {
			t.Fatalf("round %d: %s, after the first few it was %s", round, now, first)
		}
	}
	t.Logf("%s: %s, at first %s; a sent %d packets, b %d", time.Since(start).Round(time.Second), measure(t), first,
		a.Counters()[Tx+Packets], b.Counters()[Tx+Packets])
}

// addUp compares what one side has sent with what became of it on the other.
func addUp(t testing.TB, from, to *side) {
	t.Helper()
	var sent, got uint64
	eventually(t, func() bool {
		sent = from.Counters()[Tx+Packets]
		rx := to.Counters()
		got = rx[Rx+Packets] + overflows(t, to)
		for _, n := range rx[Rx+IPv6 : Rx+perDirection] {
			got += n
		}
		return sent == got
	}, func() any { return fmt.Sprintf("%s sent %d packets, %s counted %d", from.Name(), sent, to.Name(), got) })
}

// overflows returns how many datagrams found no room in a socket of the host.
func overflows(t testing.TB, s *side) uint64 {
	t.Helper()
	out, err := s.Host.Output("cat", "/proc/net/snmp")
	must(t, err)
	var names []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if fields[0] != "Udp:" {
			continue
		}
		for i, name := range names {
			if name == "RcvbufErrors" {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				must(t, err)
				return n
			}
		}
		names = fields
	}
	t.Fatalf("no RcvbufErrors in %s", out)
	return 0
}

// usage is what must not grow.
type usage struct {
	memory            int // bytes, resident
	goroutines, files int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MB, %d goroutines, %d files", u.memory>>20, u.goroutines, u.files)
}

func measure(t testing.TB) usage {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	must(t, err)
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return usage{pages * os.Getpagesize(), runtime.NumGoroutine(), len(files)}
}
