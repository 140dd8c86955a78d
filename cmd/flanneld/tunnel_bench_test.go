package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/script"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// BenchmarkTunnel measures packets between containers of two hosts, by udp through the kernel
// and by udp through the daemon, each in turns with vxlan. Figures are the medians of the rounds, as ratios
// to vxlan's of the same round: a busy machine slows both. Pings are sent at once after each
// other and every 2, 20 and 200 ms, as hosts that are asked seldom take longer to answer;
// BenchmarkRoundTrip of backend/udp/engine has programs like the original's beside. An exchange
// is 100 bytes and as many back by TCP; cpu is the processor time for each byte.
func BenchmarkTunnel(b *testing.B) {
	vxlan := newTunnel(b, "vxlan")
	for _, row := range []struct {
		name  string
		flags []string
	}{{"udp-kernel", nil}, {"udp-daemon", []string{"--udp-offload=kernel"}}} {
		b.Run(row.name, func(b *testing.B) {
			udp := newTunnel(b, "udp", row.flags...)
			if row.flags == nil {
				udp.awaitKernel(b)
			}
			ratios := make(map[string][]float64)
			for range rounds {
				reference, ours := vxlan.measure(b), udp.measure(b)
				for what, v := range ours {
					ratios[what] = append(ratios[what], v/reference[what])
				}
			}
			b.ReportMetric(0, "ns/op")
			for what, all := range ratios {
				b.ReportMetric(median(all), what+"-x-of-vxlan")
			}
		})
	}
}

// tunnel is two hosts with a container each; iperf3 serves in the second.
type tunnel struct{ from, to *script.Node }

func newTunnel(b *testing.B, typ string, flags ...string) tunnel {
	c := script.NewCluster(b, underTest(b, etcdproc.Chosen()))
	configure(b, c, fmt.Sprintf(`{"Network":"10.100.0.0/16","Backend":{"Type":%q}}`, typ))
	t := tunnel{c.Node("h1", "192.168.1.11/24"), c.Node("h2", "192.168.1.12/24")}
	for _, n := range []*script.Node{t.from, t.to} {
		n.Launch(flags...)
		if err := n.Ready(20 * time.Second); err != nil {
			b.Fatal(err)
		}
		if err := n.AddContainer(); err != nil {
			b.Fatal(err)
		}
	}
	c.Start(t.to.Web().Namespace, nil, "iperf3", "-s")
	if err := script.Eventually(20*time.Second, func() error { _, err := t.ping(2, 10*time.Millisecond); return err }); err != nil {
		b.Fatal(err)
	}
	return t
}

// awaitKernel waits until packets go through the kernel both ways.
func (t tunnel) awaitKernel(b *testing.B) {
	for _, n := range []*script.Node{t.from, t.to} {
		if err := script.Eventually(20*time.Second, func() error {
			if !strings.Contains(n.Daemon.Log.String(), "Packets to a peer go through the kernel") {
				return fmt.Errorf("%s does not say that packets go through the kernel", n.Name())
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

var (
	pingTime   = regexp.MustCompile(`time=([\d.]+) ms`)
	iperfRate  = regexp.MustCompile(`([\d.]+) Mbits/sec.*receiver`)
	iperfCount = regexp.MustCompile(`\s(\d+)/(\d+) \(.*receiver`)
)

// ping returns the times of n pings, sorted, in milliseconds, without the first one, which asks
// who has the addresses. In no time, each is sent as soon as the last one is answered.
func (t tunnel) ping(n int, every time.Duration) (ms []float64, err error) {
	spacing := fmt.Sprintf("-i%v", every.Seconds())
	if every == 0 {
		spacing = "-A"
	}
	out, err := t.from.Web().Output("ping", fmt.Sprintf("-c%d", n+1), spacing, "-W2", t.to.Web().Addr().Addr().String())
	if err != nil {
		return nil, err
	}
	for _, m := range pingTime.FindAllStringSubmatch(out, -1) {
		one, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		ms = append(ms, one)
	}
	if len(ms) <= n/2 {
		return nil, fmt.Errorf("%d answers to %d pings", len(ms), n+1)
	}
	ms = ms[1:]
	slices.Sort(ms)
	return ms, nil
}

func number(in *regexp.Regexp, text string) (float64, error) {
	m := in.FindAllStringSubmatch(text, -1)
	if m == nil {
		return 0, fmt.Errorf("no %s in %q", in, text)
	}
	return strconv.ParseFloat(m[len(m)-1][1], 64)
}

// measure takes some 15 seconds.
func (t tunnel) measure(b *testing.B) map[string]float64 {
	b.Helper()
	all := make(map[string]float64)
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, row := range []struct {
		name  string
		n     int
		every time.Duration
	}{{"at-once", 2000, 0}, {"2ms", 400, 2 * time.Millisecond}, {"20ms", 100, 20 * time.Millisecond}, {"200ms", 20, 200 * time.Millisecond}} {
		ms, err := t.ping(row.n, row.every)
		must(err)
		all["ping-"+row.name], all["ping-"+row.name+"-p99"] = median(ms), ms[len(ms)*99/100]
	}
	all["exchange"] = median(t.exchanges(b, 4000))
	for what, streams := range map[string]string{"tcp": "-P1", "tcp4": "-P4"} {
		before := busyTime(b)
		out, err := t.from.Web().Output("iperf3", streams, "-fm", "-t2", "-c", t.to.Web().Addr().Addr().String())
		must(err)
		all[what], err = number(iperfRate, out)
		must(err)
		all[what+"-cpu"] = (busyTime(b) - before).Seconds() / all[what]
	}
	out, err := t.from.Web().Output("iperf3", "-u", "-b0", "-l64", "-t1", "-c", t.to.Web().Addr().Addr().String())
	m := iperfCount.FindStringSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("iperf3 -u: %v: %s", err, out)
	}
	lost, _ := strconv.ParseFloat(m[1], 64)
	sent, _ := strconv.ParseFloat(m[2], 64)
	all["packets"] = sent - lost
	return all
}
