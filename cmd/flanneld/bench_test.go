package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// loadLeases, set to a number, makes the test binary write so many leases into
// the etcd of its network namespace, and end.
const loadLeases = "FLANNELD_UNDER_TEST_LOADS_LEASES"

// peerLease is the nth lease of a large cluster. Its host is on the underlay
// 192.168.0.0/16, so that host-gw can route to it.
func peerLease(n int, typ string) (key, value, subnet, publicIP, mac string) {
	subnet = fmt.Sprintf("10.%d.%d.0", 100+n/250, n%250)
	publicIP = fmt.Sprintf("192.168.%d.%d", 100+n/250, 2+n%250)
	mac = fmt.Sprintf("02:00:00:00:%02x:%02x", n/256, n%256)
	value = fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null,"BackendType":%q`, publicIP, typ)
	if typ == "vxlan" {
		value += fmt.Sprintf(`,"BackendData":{"VNI":1,"VtepMAC":%q}`, mac)
	}
	return subnet + "-24", value + "}", subnet, publicIP, mac
}

func load(spec string) error {
	typ, count, _ := strings.Cut(spec, ":")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		key, value, _, _, _ := peerLease(i, typ)
		req, err := http.NewRequest("PUT", "http://127.0.0.1:2379/v2/keys/coreos.com/network/subnets/"+key,
			strings.NewReader(url.Values{"value": {value}, "ttl": {"86400"}}.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			return fmt.Errorf("lease %s: %s", key, resp.Status)
		}
	}
	return nil
}

// reference makes in another host, with ip -batch and bridge -batch, what the
// daemon makes for so many peers, and returns how long these two took.
func (c *cluster) reference(b *testing.B, n *node, typ string, peers int) time.Duration {
	var ip, bridge bytes.Buffer
	for i := range peers {
		_, _, subnet, publicIP, mac := peerLease(i, typ)
		if typ == "host-gw" {
			fmt.Fprintf(&ip, "route replace %s/24 via %s dev eth0\n", subnet, publicIP)
			continue
		}
		fmt.Fprintf(&bridge, "fdb replace %s dev flannel.1 dst %s self permanent\n", mac, publicIP)
		fmt.Fprintf(&ip, "neigh replace %s lladdr %s dev flannel.1 nud permanent\n", subnet, mac)
		fmt.Fprintf(&ip, "route replace %s/24 via %s dev flannel.1 onlink\n", subnet, subnet)
	}
	dir := b.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	ipFile, bridgeFile := write("ip", ip.Bytes()), write("bridge", bridge.Bytes())
	if typ == "vxlan" {
		n.ip("link", "add", "flannel.1", "type", "vxlan", "id", "1", "dev", "eth0", "dstport", "8472", "nolearning")
		n.ip("link", "set", "flannel.1", "up")
	}
	start := time.Now()
	if typ == "vxlan" {
		if err := n.Run("bridge", "-batch", bridgeFile); err != nil {
			b.Fatal(err)
		}
	}
	if err := n.Run("ip", "-batch", ipFile); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// BenchmarkStart measures from the start of the process to the moment at which
// every peer is in the kernel, beside ip -batch and bridge -batch making the
// same entries; then what it takes to stay there.
func BenchmarkStart(b *testing.B) {
	for _, typ := range []string{"vxlan", "host-gw"} {
		for _, peers := range []int{1000, 5000} {
			b.Run(fmt.Sprintf("%s/%d", typ, peers), func(b *testing.B) {
				for range b.N {
					benchmarkStart(b, typ, peers)
				}
			})
		}
	}
}

func benchmarkStart(b *testing.B, typ string, peers int) {
	c := newCluster(b)
	c.configure(fmt.Sprintf(`{"Network":"10.0.0.0/8","SubnetMin":"10.200.0.0","SubnetLen":24,"Backend":{"Type":%q}}`, typ))
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	loader := c.lab.Switch().Command(b.Context(), self)
	loader.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", loadLeases, typ, peers))
	if out, err := loader.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	n, other := c.node("h1", "192.168.0.11/16"), c.node("h2", "192.168.0.12/16")
	reference := c.reference(b, other, typ, peers)

	start := time.Now()
	n.up()
	took := time.Since(start)
	out, err := n.Output("ip", "route", "show", "proto", "102")
	if got := strings.Count(out, "\n"); err != nil || got != peers {
		b.Fatalf("%d routes of %d, %v", got, peers, err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds()*1e3, "start-ms")
	b.ReportMetric(reference.Seconds()*1e3, "ip-batch-ms")
	b.ReportMetric(took.Seconds()/reference.Seconds(), "x-of-ip-batch")

	time.Sleep(3 * time.Second) // the passes that the first one's own changes cause
	b.ReportMetric(latency(b, c, n, typ).Seconds()*1e3, "lease-to-kernel-ms")
	time.Sleep(2 * time.Second)
	before := cpuTime(b, n.daemon.Process.Pid)
	const idle = 5 * time.Second
	time.Sleep(idle)
	b.ReportMetric(100*(cpuTime(b, n.daemon.Process.Pid)-before).Seconds()/idle.Seconds(), "idle-%cpu")
	b.ReportMetric(float64(residentKiB(b, n.daemon.Process.Pid))/1024, "rss-MiB")
}

// latency writes one more lease and waits for its route.
func latency(b *testing.B, c *cluster, n *node, typ string) time.Duration {
	monitor := n.Command(b.Context(), "ip", "monitor", "route")
	seen := &notice{want: "10.99.99.0/24", c: make(chan struct{})}
	monitor.Stdout = seen
	if err := monitor.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = monitor.Process.Kill(); _ = monitor.Wait() }()
	time.Sleep(300 * time.Millisecond)
	_, value, _, _, _ := peerLease(4999, typ)
	value = strings.ReplaceAll(strings.ReplaceAll(value, "192.168.119.251", "192.168.250.9"), "02:00:00:00", "02:00:00:99")
	start := time.Now()
	c.etcd("PUT", "/subnets/10.99.99.0-24", "value="+value)
	select {
	case <-seen.c:
	case <-time.After(5 * time.Second):
		b.Fatal("the lease did not reach the kernel")
	}
	return time.Since(start)
}

// notice closes its channel when a text was written to it.
type notice struct {
	want string
	once sync.Once
	c    chan struct{}
}

func (n *notice) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(n.want)) {
		n.once.Do(func() { close(n.c) })
	}
	return len(p), nil
}

// cpuTime is what a process has used, from proc(5).
func cpuTime(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of Go's
	return time.Duration(user+system) * tick
}

func residentKiB(b *testing.B, pid int) int {
	out, err := exec.Command("awk", "/VmRSS/ {print $2}", fmt.Sprintf("/proc/%d/status", pid)).Output()
	if err != nil {
		b.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return n
}
