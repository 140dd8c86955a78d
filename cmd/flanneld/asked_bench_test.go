package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/script"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// BenchmarkAsked measures, on a host of 5,000 peers, how long flannelctl takes, from the start of
// its process, and how long a scrape of the metrics; what 1,000 scrapes leave in memory; and how
// many netlink dumps the daemon makes meanwhile, beside as long without scrapes.
func BenchmarkAsked(b *testing.B) {
	const peers, scrapes = 5000, 1000
	c := script.NewCluster(b, underTest(b, etcdproc.Chosen()))
	join(b, c, "vxlan", peers)
	s := newStarter(b, c, c.Node("h1", "192.168.0.11/16"))
	s.start()
	defer s.stop()
	ctl := filepath.Join(s.host.Dir, "flannelctl")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", ctl, "../flannelctl").CombinedOutput(); err != nil {
		b.Fatalf("build: %v: %s", err, out)
	}
	for _, command := range []string{"status", "peers"} {
		var took []time.Duration
		for range 20 {
			start := time.Now()
			out, err := s.host.Output(ctl, command, "--subnet-file="+s.host.SubnetFile())
			took = append(took, time.Since(start))
			if !strings.Contains(out, fmt.Sprint(peers)) {
				b.Fatalf("%v: %s", err, out)
			}
		}
		b.ReportMetric(median(took).Seconds()*1e3, command+"-ms")
		b.ReportMetric(slices.Max(took).Seconds()*1e3, command+"-most-ms")
	}

	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimSuffix(s.host.SubnetFile(), "subnet.env")+"flanneld.sock")
	}}}
	scrape := func() time.Duration {
		start := time.Now()
		answer, err := client.Get("http://localhost/metrics")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		if _ = answer.Body.Close(); err != nil || n == 0 || answer.StatusCode != http.StatusOK {
			b.Fatal(answer.Status, n, err)
		}
		return time.Since(start)
	}
	for range scrapes / 10 { // the heap has its size then
		scrape()
	}
	before := residentKiB(b, s.daemon.Process.Pid, "VmRSS")
	var took []time.Duration
	for range scrapes {
		took = append(took, scrape())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(took).Seconds()*1e3, "scrape-ms")
	b.ReportMetric(slices.Max(took).Seconds()*1e3, "scrape-most-ms")
	b.ReportMetric(float64(before)/1024, "rss-MiB")
	b.ReportMetric(float64(residentKiB(b, s.daemon.Process.Pid, "VmRSS")-before)/1024, "grown-MiB")
	began := time.Now()
	busy := dumps(b, s.daemon.Process.Pid, func() { // which is slow, as it is traced
		for range scrapes {
			scrape()
		}
	})
	lasted := time.Since(began)
	b.ReportMetric(float64(busy), "dumps-scraped")
	b.ReportMetric(float64(dumps(b, s.daemon.Process.Pid, func() { time.Sleep(lasted) })), "dumps-idle")
}

// dumps counts the netlink dumps of a process while f runs, if strace is there: they are what
// it asks the kernel for.
func dumps(b *testing.B, pid int, f func()) (n int) {
	b.Helper()
	out := filepath.Join(b.TempDir(), "strace")
	trace := exec.Command("strace", "-f", "-qq", "-p", fmt.Sprint(pid), "-e", "trace=sendto,sendmsg", "-o", out)
	if err := trace.Start(); err != nil {
		b.Log("dumps are not counted: ", err)
		f()
		return 0
	}
	f()
	_ = trace.Process.Signal(os.Interrupt)
	_ = trace.Wait()
	text, err := os.ReadFile(out)
	if err != nil {
		b.Fatal(err)
	}
	return strings.Count(string(text), "NLM_F_DUMP")
}
