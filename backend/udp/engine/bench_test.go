package engine

import (
	"context"
	"encoding/json"
	"fmt"
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

// roundTrip returns the median time of n pings, in milliseconds: of an average
// other processes have the larger part.
func roundTrip(t testing.TB, from, to *netlab.Container, n int) float64 {
	t.Helper()
	return median(pings(t, from, to, n, 10*time.Millisecond))
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

// rounds is how often each measurement is made: their median is reported.
const rounds = 5

// beside measures two ways in turns; on a busy machine only the ratios mean
// anything. It reports medians.
func beside(b *testing.B, unit, other string, engine, reference func() float64) {
	var mine, theirs, ratios []float64
	for b.Loop() {
		for range rounds {
			r, e := reference(), engine()
			mine, theirs, ratios = append(mine, e), append(theirs, r), append(ratios, e/r)
		}
	}
	b.ReportMetric(median(mine), unit)
	b.ReportMetric(median(theirs), other+"-"+unit)
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// duration is how long TCP is measured, in seconds.
const duration = 2

// tcp returns Gbit/s in so many streams.
func tcp(t testing.TB, x, y *side, streams int) float64 {
	return client(t, x.c, y.c, "-t", strconv.Itoa(duration), "-P", strconv.Itoa(streams)).End.Received.Bits / 1e9
}

// BenchmarkBesideVXLAN measures the engine and VXLAN of the kernel, in the same
// namespaces.
func BenchmarkBesideVXLAN(b *testing.B) {
	x, y := newPair(b)
	needs(b, "iperf3")
	apart(b, x, y, false)
	both := func(b *testing.B, unit string, f func() float64) {
		over := func(vxlan bool) func() float64 {
			return func() float64 {
				overVXLAN(b, vxlan, x, y)
				must(b, x.c.Run("ping", "-q", "-c1", "-W5", y.c.Addr().Addr().String()))
				return f()
			}
		}
		beside(b, unit, "vxlan", over(false), over(true))
	}
	b.Run("TCP1", func(b *testing.B) {
		both(b, "Gbit/s", func() float64 { return tcp(b, x, y, 1) })
	})
	b.Run("TCP4", func(b *testing.B) {
		both(b, "Gbit/s", func() float64 { return tcp(b, x, y, 4) })
	})
	b.Run("UDP64", func(b *testing.B) {
		both(b, "kpps", func() float64 {
			s := client(b, x.c, y.c, "-u", "-b", "0", "-l", "64", "-t", "2").End.Sum
			return (s.Packets - s.Lost) / s.Seconds / 1e3
		})
	})
	b.Run("RTT", func(b *testing.B) {
		both(b, "ms", func() float64 { return roundTrip(b, x.c, y.c, 200) })
	})
	// As on a network card that does nothing by itself.
	b.Run("PlainUnderlayTCP1", func(b *testing.B) {
		needs(b, "ethtool")
		plain := func(state string) {
			for _, s := range []*side{x, y} {
				must(b, s.Host.Run("ethtool", "-K", netlab.Uplink, "gso", state, "tso", state, "tx-udp-segmentation", state))
			}
		}
		plain("off")
		b.Cleanup(func() { plain("on") })
		both(b, "Gbit/s", func() float64 { return tcp(b, x, y, 1) })
	})
}

// BenchmarkBesideNaive measures what one packet in each system call would have
// been, and what the engine costs.
func BenchmarkBesideNaive(b *testing.B) {
	x, y := newPair(b)
	v, w := newPair(b)
	needs(b, "iperf3")
	apart(b, x, y, false)
	apart(b, v, w, true)
	var seconds, bytes float64
	beside(b, "Gbit/s", "naive", func() float64 {
		before := x.processorTime(b) + y.processorTime(b)
		rate := tcp(b, x, y, 1)
		seconds += (x.processorTime(b) + y.processorTime(b) - before).Seconds()
		bytes += rate * 1e9 / 8 * duration
		return rate
	}, func() float64 { return tcp(b, v, w, 1) })
	b.ReportMetric(seconds/bytes*1e9, "cpu-s/GB")
}
