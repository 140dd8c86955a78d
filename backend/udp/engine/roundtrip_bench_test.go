package engine

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"flanneld/pkg/netlab"
)

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// pings returns the times of n pings, one in each interval, in milliseconds.
func pings(t testing.TB, from, to *netlab.Container, n int, every time.Duration) []float64 {
	t.Helper()
	out, err := from.Output("ping", "-i", fmt.Sprint(every.Seconds()), "-c", strconv.Itoa(n), to.Addr().Addr().String())
	must(t, err)
	var times []float64
	for _, m := range pingTime.FindAllStringSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		must(t, err)
		times = append(times, ms)
	}
	if len(times) < n/2 {
		t.Fatalf("%d answers of %d", len(times), n)
	}
	return times
}

// originals runs a host like the original's on each side: a program of C.
func originals(t testing.TB, a, b *side) {
	t.Helper()
	needs(t, "gcc")
	program := filepath.Join(t.TempDir(), "original")
	out, err := exec.Command("gcc", "-O2", "-o", program, "testdata/original.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	for _, pair := range [][2]*side{{a, b}, {b, a}} {
		s, o := pair[0], pair[1]
		s.runApart(t, nil, program, s.Addr().Addr().String(), strconv.Itoa(port), o.subnet.Addr().String(),
			net.IP(net.CIDRMask(o.subnet.Bits(), 32)).String(), o.Addr().Addr().String(), strconv.Itoa(mtu))
	}
}

// percentile returns one of values, which it sorts.
func percentile(v []float64, p int) float64 {
	slices.Sort(v)
	return v[min(len(v)*p/100, len(v)-1)]
}

// BenchmarkRoundTrip measures pings by the engine, by programs like the original's and by
// VXLAN of the kernel, in turns, at several spacings: who was not asked for long takes long
// to wake. It reports the median and the 99th percentile of the pings of all rounds.
func BenchmarkRoundTrip(b *testing.B) {
	x, y := newPair(b)
	v, w := newPair(b)
	apart(b, x, y, false)
	originals(b, v, w)
	for _, row := range []struct {
		every time.Duration
		n     int // pings in a round
	}{{2 * time.Millisecond, 500}, {20 * time.Millisecond, 100}, {200 * time.Millisecond, 40}} {
		ways := []struct {
			name     string
			from, to *side
			vxlan    bool
		}{{"vxlan", x, y, true}, {"original", v, w, false}, {"engine", x, y, false}}
		b.Run(row.every.String(), func(b *testing.B) {
			times := make(map[string][]float64)
			for b.Loop() {
				for range rounds {
					for _, way := range ways {
						overVXLAN(b, way.vxlan, way.from, way.to)
						// The first ones ask who has the addresses.
						times[way.name] = append(times[way.name], pings(b, way.from.c, way.to.c, row.n+2, row.every)[2:]...)
					}
				}
			}
			for name, all := range times {
				b.ReportMetric(percentile(all, 50), name+"-p50-ms")
				b.ReportMetric(percentile(all, 99), name+"-p99-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
