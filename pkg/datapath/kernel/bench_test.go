package kernel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/datapath"
)

// hosts returns n hosts behind the tunnel, each with a /24 of 10.0.0.0/8.
func hosts(n int) datapath.State {
	var s datapath.State
	for i := 1; i <= n; i++ {
		gateway := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		mac := datapath.MAC{0x0a, 0, 0, 1, byte(i >> 8), byte(i)}
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: "vx.1", MAC: mac, Dst: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: "vx.1", IP: gateway, MAC: mac})
		s.Routes = append(s.Routes, datapath.Route{
			Dst: netip.PrefixFrom(gateway, 24), Gateway: gateway, Link: "vx.1", OnLink: true, Protocol: 77,
		})
	}
	return s
}

// overUnderlay is n routes over the underlay itself, each by a gateway of its own, which
// are in 198.18.0.0/16.
func overUnderlay(n int) datapath.State {
	s := hosts(n)
	for i := range s.Routes {
		r := &s.Routes[i]
		r.Gateway, r.Link, r.OnLink = s.FDB[i].Dst, "eth0", false
	}
	return datapath.State{Routes: s.Routes}
}

var benchScope = datapath.Scope{
	Owner: "ours", Links: []string{"vx.1"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Protocol: 77,
}

func tunnelLink() datapath.Link {
	return datapath.Link{
		Name: "vx.1", Kind: "vxlan", Alias: "ours", Up: true, MTU: 1450, MAC: datapath.MAC{0x0a, 0, 0, 0, 0, 1},
		VXLAN: datapath.VXLAN{VNI: 1, Parent: "eth0", Local: netip.MustParseAddr("192.0.2.1"), Port: 8472},
	}
}

// clean takes away what a round made and makes an empty tunnel.
func clean(b *testing.B, k Kernel) {
	b.Helper()
	r := datapath.Reconciler{Kernel: k, Scope: benchScope, Log: slog.New(slog.DiscardHandler)}
	for _, want := range []datapath.State{{}, {Links: []datapath.Link{tunnelLink()}}} {
		if _, err := r.Apply(b.Context(), want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProgram tells how long it takes to give an empty host its entries,
// and how much that is of the time that `ip -batch` and `bridge -batch` take for
// the same ones.
func BenchmarkProgram(b *testing.B) {
	for _, kind := range []struct {
		name string
		want func(n int) datapath.State
	}{{"vxlan", hosts}, {"routes", overUnderlay}} {
		for _, n := range []int{1000, 5000, 20000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) { program(b, kind.want(n)) })
		}
	}
}

func program(b *testing.B, want datapath.State) {
	enter(b)
	if err := shell("ip addr add 198.18.0.1/15 dev eth0"); err != nil {
		b.Fatal(err)
	}
	k := Kernel{}
	ops := datapath.Diff(want, datapath.State{})
	batches := batchFiles(b, ops)
	want.Links = []datapath.Link{tunnelLink()}
	r := datapath.Reconciler{Kernel: k, Scope: benchScope, Log: slog.New(slog.DiscardHandler)}
	var ours, reference []time.Duration
	for b.Loop() {
		b.StopTimer()
		// Taken in turns, so that a noisy machine disturbs both.
		clean(b, k)
		start := time.Now()
		for _, batch := range batches {
			if out, err := exec.Command(batch[0], batch[1:]...).CombinedOutput(); err != nil {
				b.Fatalf("%v: %v: %s", batch, err, out)
			}
		}
		reference = append(reference, time.Since(start))
		complete(b, k, want)
		clean(b, k)
		b.StartTimer()
		start = time.Now()
		n, err := r.Apply(b.Context(), want)
		ours = append(ours, time.Since(start))
		b.StopTimer()
		if n != len(ops) || err != nil {
			b.Fatalf("%d operations of %d, %v", n, len(ops), err)
		}
		complete(b, k, want)
		b.StartTimer()
	}
	slices.Sort(ours)
	slices.Sort(reference)
	b.ReportMetric(ours[b.N/2].Seconds()/reference[b.N/2].Seconds(), "x-of-ip-batch")
	b.ReportMetric(reference[b.N/2].Seconds()*1e3, "ip-batch-ms")
	b.ReportMetric(ours[b.N/2].Seconds()*1e3, "ms")
}

// complete holds both ways of programming to the same result.
func complete(b *testing.B, k Kernel, want datapath.State) {
	b.Helper()
	have, err := k.Read(b.Context(), benchScope)
	if err != nil {
		b.Fatal(err)
	}
	if ops := datapath.Diff(want, have); len(ops) > 0 {
		b.Fatalf("%d entries are not there or too many: %s …", len(ops), ops[0])
	}
}

// batchFiles writes operations as batches for bridge and ip, in this order, and
// returns the commands that run them.
func batchFiles(b *testing.B, ops []datapath.Op) (commands [][]string) {
	b.Helper()
	for _, tool := range []string{"bridge", "ip"} {
		var lines strings.Builder
		for _, op := range ops {
			if line, ok := strings.CutPrefix(op.String(), tool+" "); ok {
				lines.WriteString(line + "\n")
			}
		}
		if lines.Len() == 0 {
			continue
		}
		file := filepath.Join(b.TempDir(), tool)
		if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		commands = append(commands, []string{tool, "-batch", file})
	}
	return commands
}

// BenchmarkNoop is what a pass costs that finds nothing to do: the tables are
// read and compared.
func BenchmarkNoop(b *testing.B) {
	for _, n := range []int{100, 1000, 5000, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			enter(b)
			want := hosts(n)
			want.Links = []datapath.Link{tunnelLink()}
			r := datapath.Reconciler{Kernel: Kernel{}, Scope: benchScope, Log: slog.New(slog.DiscardHandler)}
			if _, err := r.Apply(b.Context(), want); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if ops, err := r.Apply(b.Context(), want); ops != 0 || err != nil {
					b.Fatalf("Apply: %d operations, %v", ops, err)
				}
			}
		})
	}
}

// BenchmarkNextHops is what it costs to ask where n tunnel endpoints are, and
// how much that is of the time that reading the tables takes.
func BenchmarkNextHops(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			enter(b)
			want := hosts(n)
			want.Links = []datapath.Link{tunnelLink()}
			k := Kernel{}
			r := datapath.Reconciler{Kernel: k, Scope: benchScope, Log: slog.New(slog.DiscardHandler)}
			if _, err := r.Apply(b.Context(), want); err != nil {
				b.Fatal(err)
			}
			if err := shell("ip route add 198.18.0.0/16 dev eth0"); err != nil {
				b.Fatal(err)
			}
			var endpoints []netip.Addr
			for _, e := range want.FDB {
				endpoints = append(endpoints, e.Dst)
			}
			var lookups, reads time.Duration
			for b.Loop() {
				start := time.Now()
				hops, err := k.NextHops(b.Context(), benchScope, nil, endpoints)
				lookups += time.Since(start)
				if err != nil || hops[n-1] != (datapath.NextHop{Link: "eth0"}) {
					b.Fatalf("NextHops: %v, %v", hops[n-1], err)
				}
				b.StopTimer()
				start = time.Now()
				if _, err := k.Read(b.Context(), benchScope); err != nil {
					b.Fatal(err)
				}
				reads += time.Since(start)
				b.StartTimer()
			}
			b.ReportMetric(lookups.Seconds()/reads.Seconds(), "x-of-read")
			b.ReportMetric(lookups.Seconds()*1e6/float64(b.N*n), "µs/lookup")
		})
	}
}
