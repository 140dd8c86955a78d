package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab"
)

// server runs an iperf3 server that ends after one client.
func server(t testing.TB, c *netlab.Container) {
	t.Helper()
	needs(t, "iperf3")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := c.Command(ctx, "iperf3", "-s", "-1")
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(10 * time.Second)
	for {
		out, err := c.Output("ss", "-ltnH", "sport", "=", ":5201")
		must(t, err)
		if strings.Contains(out, "5201") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("iperf3 does not listen")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type iperf struct {
	End struct {
		Received struct {
			Bits float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
	Error string `json:"error"`
}

// client measures from one container to another.
func client(t testing.TB, from, to *netlab.Container, args ...string) iperf {
	t.Helper()
	server(t, to)
	out, err := from.Output("iperf3", append([]string{"-J", "-c", to.Addr().Addr().String()}, args...)...)
	var r iperf
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil {
		t.Fatalf("parse iperf3's output: %v: %s", jsonErr, out)
	}
	if err != nil || r.Error != "" {
		t.Fatalf("iperf3: %v: %s", err, r.Error)
	}
	return r
}

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// roundTrip returns the median time of n pings, in milliseconds: of an average
// other processes have the larger part.
func roundTrip(t testing.TB, from, to *netlab.Container, n int) float64 {
	t.Helper()
	out, err := from.Output("ping", "-i", "0.01", "-c", strconv.Itoa(n), to.Addr().Addr().String())
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
	slices.Sort(times)
	return times[len(times)/2]
}

// overVXLAN sends the containers' packets through VXLAN of the kernel, or
// through the engines.
func overVXLAN(t testing.TB, on bool, a, b *side) {
	t.Helper()
	size := mtu
	if on {
		size = 1450
	}
	for _, pair := range [][2]*side{{a, b}, {b, a}} {
		s, o := pair[0], pair[1]
		if on {
			_ = s.Host.Run("ip", "link", "delete", "vx0")
			s.ip(t, "link add vx0 mtu 1450 type vxlan id 1 dev eth0 dstport 4789 local %s remote %s", s.Addr().Addr(), o.Addr().Addr())
			s.ip(t, "link set vx0 up")
			s.ip(t, "route replace %s via %s dev vx0 onlink", o.subnet, o.Addr().Addr())
		} else {
			s.ip(t, "route replace %s dev flannel0", o.subnet)
		}
		must(t, s.c.Run("ip", "link", "set", netlab.Uplink, "mtu", fmt.Sprint(size)))
	}
}

// BenchmarkBesideVXLAN measures the engine and VXLAN of the kernel in turns, in
// the same namespaces: on a busy machine only the ratios mean anything.
func BenchmarkBesideVXLAN(b *testing.B) {
	x, y := newPair(b)
	needs(b, "iperf3")
	connect(b, x, y, rung{}, rung{})
	measure := func(b *testing.B, unit string, f func() float64) {
		var engine, vxlan float64
		for b.Loop() {
			overVXLAN(b, true, x, y)
			f()
			vxlan += f()
			overVXLAN(b, false, x, y)
			f()
			engine += f()
		}
		n := float64(b.N)
		b.ReportMetric(engine/n, unit)
		b.ReportMetric(vxlan/n, "vxlan-"+unit)
		b.ReportMetric(engine/vxlan, "ratio")
		b.ReportMetric(0, "ns/op")
	}
	tcp := func(b *testing.B, streams string) {
		measure(b, "Gbit/s", func() float64 {
			return client(b, x.c, y.c, "-t", "2", "-P", streams).End.Received.Bits / 1e9
		})
	}
	b.Run("TCP1", func(b *testing.B) { tcp(b, "1") })
	b.Run("TCP4", func(b *testing.B) { tcp(b, "4") })
	b.Run("UDP64", func(b *testing.B) {
		measure(b, "kpps", func() float64 {
			s := client(b, x.c, y.c, "-u", "-b", "0", "-l", "64", "-t", "2").End.Sum
			return (s.Packets - s.Lost) / s.Seconds / 1e3
		})
	})
	b.Run("RTT", func(b *testing.B) {
		measure(b, "ms", func() float64 { return roundTrip(b, x.c, y.c, 200) })
	})
}
