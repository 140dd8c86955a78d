package main

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab/script"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// BenchmarkPeerFilter measures TCP between two containers over VXLAN with 5,000
// peers in the filter, beside the same without a filter, in turns. The daemons are
// dead meanwhile, or they would put the filter back.
//
// One connection runs all the time. A round is three short looks at what it carries,
// without, with and without the filter, whose order turns. A machine that does other
// things meanwhile does them to all: what counts is the median of the rounds' ratios,
// and how sure that is. The two looks without the filter are compared in the same way,
// and their ratio would be 1 on a machine without noise.
func BenchmarkPeerFilter(b *testing.B) {
	const peers = 5000
	c := script.NewCluster(b, underTest(b, etcdproc.Chosen()))
	join(b, c, "vxlan", peers)
	var hosts []*script.Node
	for i := range 2 {
		n := c.Node(fmt.Sprint("h", i), fmt.Sprintf("192.168.0.1%d/16", i))
		n.Launch()
		if err := n.Ready(time.Minute); err != nil {
			b.Fatal(err)
		}
		if err := n.AddContainer(); err != nil {
			b.Fatal(err)
		}
		hosts = append(hosts, n)
	}
	from, to := hosts[0], hosts[1]
	if err := script.Eventually(30*time.Second, func() error {
		return from.Web().Run("ping", "-c1", "-W1", to.Web().Addr().Addr().String())
	}); err != nil {
		b.Fatal(err)
	}
	for _, n := range hosts {
		n.Daemon.Kill()
	}
	for _, n := range hosts {
		out, err := n.Output("nft", "list", "table", "inet", "flanneld")
		if err != nil {
			b.Fatal(err)
		}
		if got := strings.Count(out, ".") / 3; got < peers {
			b.Fatalf("there are %d addresses in the filter of %s, want %d", got, n.Name(), peers)
		}
		var on, off string
		for _, name := range []string{"through", "input", "prerouting"} {
			chain, err := n.Output("nft", "list", "chain", "inet", "flanneld", name)
			if err != nil {
				b.Fatal(err)
			}
			on += chain
			off = "delete chain inet flanneld " + name + "\n" + off // what jumps to it comes first
		}
		for name, text := range map[string]string{"on": on, "off": off} {
			if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		if err := n.Run("nft", "-f", filepath.Join(n.Dir, "off")); err != nil {
			b.Fatal(err)
		}
	}
	// Without the chains nobody looks at the sets.
	filtered := false
	set := func(on bool) {
		for _, n := range hosts {
			var err error
			switch {
			case on && !filtered:
				err = n.Run("nft", "-f", filepath.Join(n.Dir, "on"))
			case !on && filtered:
				err = n.Run("nft", "-f", filepath.Join(n.Dir, "off"))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		filtered = on
	}
	arrived := stream(b, from, to)
	// By the clock, and by what this process, in which both ends are, had of the
	// processors: of that others take none away.
	rate := func() (byClock, byCPU float64) {
		time.Sleep(50 * time.Millisecond) // what was under way
		before, began, used := arrived(), time.Now(), ownCPU(b)
		time.Sleep(200 * time.Millisecond)
		bits := 8 * float64(arrived()-before)
		return bits / time.Since(began).Seconds(), bits / (ownCPU(b) - used).Seconds()
	}
	time.Sleep(time.Second) // the connection's window, caches, and the bridges' tables
	var ons, offs, ratios, noise, cpuRatios, cpuNoise []float64
	starved := 0
	began := time.Now()
	for round := 0; round < leastRounds || round%3 != 0 || time.Since(began) < filterTime; round++ {
		var rates, cpu [3]float64 // without, with, without
		for turn := range 3 {
			kind := (turn + round) % 3
			// A change by itself costs something: there is one before each look.
			set(kind != 1)
			set(kind == 1)
			rates[kind], cpu[kind] = rate()
		}
		if rates[0] == 0 || rates[1] == 0 || rates[2] == 0 {
			// The connection got no processor in time, or there is something wrong.
			if starved++; starved > 10*leastRounds {
				b.Fatalf("nothing arrives: %v bit/s without, with and without the filter", rates)
			}
			round--
			continue
		}
		off := (rates[0] + rates[2]) / 2
		offs, ons = append(offs, off), append(ons, rates[1])
		ratios, noise = append(ratios, rates[1]/off), append(noise, rates[2]/rates[0])
		cpuRatios, cpuNoise = append(cpuRatios, 2*cpu[1]/(cpu[0]+cpu[2])), append(cpuNoise, cpu[2]/cpu[0])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(ratios)), "rounds")
	b.ReportMetric(median(ons)/1e9, "on-Gbit/s")
	b.ReportMetric(median(offs)/1e9, "off-Gbit/s")
	for name, all := range map[string][]float64{
		"on/off": ratios, "off/off": noise, "cpu-on/off": cpuRatios, "cpu-off/off": cpuNoise,
	} {
		low, high := interval(all)
		b.ReportMetric(median(all), name)
		b.ReportMetric(low, name+"-from")
		b.ReportMetric(high, name+"-to")
	}
}

// Rounds go on for so long, and are some at least. Their number is a multiple of
// three: each look has each place as often.
const (
	filterTime  = 80 * time.Second
	leastRounds = 12
)

// interval returns the bounds between which the median lies of what the values were
// taken from, in 95 of 100 cases, whatever its distribution (the sign test's).
func interval(all []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(all))
	n := float64(len(sorted))
	k := max(int(math.Floor((n-1.96*math.Sqrt(n))/2)), 0)
	return sorted[k], sorted[len(sorted)-1-k]
}

// ownCPU is what this process has had of the processors. The kernel's work on packets
// is in it, which it does when one is sent, unless it counts that apart
// (CONFIG_IRQ_TIME_ACCOUNTING).
func ownCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stream sends from one container to the other until the benchmark ends. The function
// returns how many bytes have arrived by now.
func stream(b *testing.B, from, to *script.Node) (arrived func() int64) {
	b.Helper()
	var listener net.Listener
	if err := to.Web().Enter(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(to.Web().Addr().Addr(), 5001).String())
		return err
	}); err != nil {
		b.Fatal(err)
	}
	var sender net.Conn
	if err := from.Web().Enter(func() (err error) {
		sender, err = net.Dial("tcp", listener.Addr().String())
		return err
	}); err != nil {
		b.Fatal(err)
	}
	receiver, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	var bytes atomic.Int64
	var both sync.WaitGroup
	both.Go(func() {
		for chunk := make([]byte, 1<<20); ; {
			if _, err := sender.Write(chunk); err != nil {
				return
			}
		}
	})
	both.Go(func() {
		for chunk := make([]byte, 1<<20); ; {
			n, err := receiver.Read(chunk)
			bytes.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	b.Cleanup(func() {
		for _, c := range []io.Closer{sender, receiver, listener} {
			_ = c.Close()
		}
		both.Wait()
	})
	return bytes.Load
}
