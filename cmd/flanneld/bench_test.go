package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/pkg/netlab/script"
	"flanneld/pkg/wake"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// BenchmarkStart measures, in a cluster of so many hosts, from the start of the
// program to READY=1, when every peer is in the kernel, beside ip -batch and
// bridge -batch making the same entries, in turns; then what it takes to stay
// there, and a start without etcd. Figures are medians of the rounds, however long the benchmark is told to
// take.
func BenchmarkStart(b *testing.B) {
	for _, typ := range []string{"vxlan", "host-gw"} {
		for _, peers := range []int{1000, 5000} {
			b.Run(fmt.Sprintf("%s/%d", typ, peers), func(b *testing.B) { benchmarkStart(b, "v2", typ, peers) })
		}
	}
	b.Run("vxlan/5000/v3", func(b *testing.B) { benchmarkStart(b, "v3", "vxlan", 5000) })
}

const rounds = 7

func benchmarkStart(b *testing.B, api, typ string, peers int) {
	c := script.NewCluster(b, underTest(b, etcdproc.Chosen()))
	c.Use(api)
	store := join(b, c, typ, peers)
	s := newStarter(b, c, c.Node("h1", "192.168.0.11/16"))
	r := newReference(b, c.Node("h2", "192.168.0.12/16"), typ, peers)

	var ours, reference []time.Duration
	var ratios []float64
	for range rounds {
		r.clean()
		reference = append(reference, r.run())
		s.stop()
		ours = append(ours, s.start())
		out, err := s.host.Output("ip", "route", "show", "proto", "102")
		if got := strings.Count(out, "\n"); err != nil || got != peers {
			b.Fatalf("%d routes of %d, %v", got, peers, err)
		}
		ratios = append(ratios, ours[len(ours)-1].Seconds()/reference[len(reference)-1].Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.size(), "binary-MB")
	b.ReportMetric(median(ours).Seconds()*1e3, "start-ms")
	b.ReportMetric(median(reference).Seconds()*1e3, "ip-batch-ms")
	b.ReportMetric(median(ratios), "x-of-ip-batch")

	time.Sleep(3 * time.Second) // the passes that the first one's own changes cause
	var delays []time.Duration
	for i := range 7 {
		time.Sleep(1100 * time.Millisecond) // an idle daemon is what is measured
		delays = append(delays, reaches(b, store, s.host, typ, i))
	}
	b.ReportMetric(median(delays).Seconds()*1e3, "lease-to-kernel-ms")
	time.Sleep(2 * time.Second)
	const idle = 10 * time.Second
	before := cpuTime(b, s.daemon.Process.Pid)
	time.Sleep(idle)
	b.ReportMetric(100*(cpuTime(b, s.daemon.Process.Pid)-before).Seconds()/idle.Seconds(), "idle-%cpu")
	c.KillEtcd()
	ours = nil
	for range rounds {
		s.stop()
		ours = append(ours, s.start())
	}
	b.ReportMetric(median(ours).Seconds()*1e3, "without-etcd-ms")
}

// benchLease is a lease as it lies in the store, and what its parts are.
type benchLease struct{ key, value, subnet, publicIP, mac string }

// peerLease is the nth lease of a large cluster. Its host is on the underlay
// 192.168.0.0/16, so that host-gw can route to it.
func peerLease(n int, typ string) benchLease {
	l := benchLease{
		subnet:   fmt.Sprintf("10.%d.%d.0", 100+n/250, n%250),
		publicIP: fmt.Sprintf("192.168.%d.%d", 100+n/250, 2+n%250),
		mac:      fmt.Sprintf("02:00:00:00:%02x:%02x", n/256, n%256),
	}
	l.key = l.subnet + "-24"
	l.value = fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null`, l.publicIP)
	if typ != "udp" { // which never wrote it
		l.value += fmt.Sprintf(`,"BackendType":%q`, typ)
	}
	if typ == "vxlan" {
		l.value += fmt.Sprintf(`,"BackendData":{"VNI":1,"VtepMAC":%q}`, l.mac)
	}
	l.value += "}"
	return l
}

// join writes the configuration of a network with that backend, and the leases of so many
// peers. It returns what writes more.
func join(t testing.TB, c *script.Cluster, typ string, peers int) *script.Loader {
	t.Helper()
	configure(t, c, fmt.Sprintf(`{"Network":"10.0.0.0/8","SubnetMin":"10.100.0.0","SubnetLen":24,"Backend":{"Type":%q}}`, typ))
	store, err := script.NewLoader(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	for i := range peers {
		if err := putLease(store, peerLease(i, typ)); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// putLease writes a lease.
func putLease(store *script.Loader, lease benchLease) error {
	return store.Write("coreos.com/network/subnets/"+lease.key, lease.value, 24*time.Hour)
}

// starter starts the program as it is built for use, again and again.
type starter struct {
	t       testing.TB
	cluster *script.Cluster
	host    *script.Node
	program string
	flags   []string  // beside those that say where all is
	notify  string    // the socket that it says so at
	ready   wake.Chan // that it has said it
	daemon  *script.Process
}

func newStarter(t testing.TB, c *script.Cluster, host *script.Node) *starter {
	s := &starter{t: t, cluster: c, host: host, program: filepath.Join(host.Dir, "flanneld")}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", s.program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	s.notify, s.ready = filepath.Join(host.Dir, "ready"), wake.New()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { s.hear(socket) })
	t.Cleanup(func() { _ = socket.Close(); reader.Wait() })
	return s
}

// hear reads what the daemon says until the socket is closed, as systemd does: the daemon waits
// for whoever does not.
func (s *starter) hear(socket *net.UnixConn) {
	for buf := make([]byte, 4096); ; {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			s.ready.Wake()
		}
	}
}

// size returns the program's, in megabytes.
func (s *starter) size() float64 {
	info, err := os.Stat(s.program)
	if err != nil {
		s.t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

// stop kills the daemon, and takes away what it made in the kernel.
func (s *starter) stop() {
	if s.daemon == nil {
		return
	}
	s.daemon.Kill()
	_ = s.host.Run("ip", "link", "del", "flannel.1") // there is none with host-gw
	s.host.IP("route", "flush", "proto", "102")
}

// start returns the time that passes until the daemon says that it is ready.
func (s *starter) start() time.Duration {
	s.t.Helper()
	select {
	case <-s.ready: // of one before
	default:
	}
	begin := time.Now()
	s.daemon = s.cluster.Start(s.host.Namespace, []string{"NOTIFY_SOCKET=" + s.notify}, s.program,
		append([]string{"--etcd-endpoints=http://" + s.host.Gateway().String() + ":2379",
			"--subnet-file=" + s.host.SubnetFile(), "--state-dir=" + filepath.Join(s.host.Dir, "state")}, s.flags...)...)
	select {
	case <-s.ready:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the daemon did not become ready")
	}
	return time.Since(begin)
}

// reference makes with ip -batch and bridge -batch what the daemon makes.
type reference struct {
	b        *testing.B
	host     *script.Node
	typ      string
	commands [][]string
}

func newReference(b *testing.B, host *script.Node, typ string, peers int) *reference {
	var ip, bridge bytes.Buffer
	for i := range peers {
		l := peerLease(i, typ)
		if typ == "host-gw" {
			fmt.Fprintf(&ip, "route replace %s/24 via %s dev eth0 proto 102\n", l.subnet, l.publicIP)
			continue
		}
		fmt.Fprintf(&bridge, "fdb replace %s dev flannel.1 dst %s self permanent\n", l.mac, l.publicIP)
		fmt.Fprintf(&ip, "neigh replace %s lladdr %s dev flannel.1 nud permanent\n", l.subnet, l.mac)
		fmt.Fprintf(&ip, "route replace %s/24 via %s dev flannel.1 onlink proto 102\n", l.subnet, l.subnet)
	}
	r := &reference{b: b, host: host, typ: typ}
	for _, batch := range []struct {
		program string
		lines   []byte
	}{{"bridge", bridge.Bytes()}, {"ip", ip.Bytes()}} {
		if len(batch.lines) == 0 {
			continue
		}
		path := filepath.Join(host.Dir, batch.program+".batch")
		if err := os.WriteFile(path, batch.lines, 0o600); err != nil {
			b.Fatal(err)
		}
		r.commands = append(r.commands, []string{batch.program, "-batch", path})
	}
	return r
}

// clean leaves an empty device, or none.
func (r *reference) clean() {
	r.host.IP("route", "flush", "proto", "102")
	if r.typ != "vxlan" {
		return
	}
	_ = r.host.Run("ip", "link", "del", "flannel.1") // there is none in the first round
	r.host.IP("link", "add", "flannel.1", "type", "vxlan", "id", "1", "dev", "eth0", "dstport", "8472", "nolearning")
	r.host.IP("link", "set", "flannel.1", "up")
}

func (r *reference) run() time.Duration {
	r.b.Helper()
	start := time.Now()
	for _, c := range r.commands {
		if err := r.host.Run(c[0], c[1:]...); err != nil {
			r.b.Fatal(err)
		}
	}
	return time.Since(start)
}

// reaches writes one more lease and returns how long its route takes.
func reaches(b *testing.B, store *script.Loader, host *script.Node, typ string, n int) time.Duration {
	b.Helper()
	monitor := host.Command(b.Context(), "ip", "monitor", "route")
	l := peerLease(4999, typ)
	l.subnet, l.publicIP = fmt.Sprintf("10.200.%d.0", n), fmt.Sprintf("192.168.250.%d", 10+n)
	l.key = l.subnet + "-24"
	l.value = strings.ReplaceAll(l.value, "192.168.119.251", l.publicIP)
	l.value = strings.ReplaceAll(l.value, l.mac, fmt.Sprintf("02:00:00:99:00:%02x", n))
	seen := make(chan time.Time, 1)
	monitor.Stdout = writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte(l.subnet+"/24")) {
			select {
			case seen <- time.Now():
			default:
			}
		}
		return len(p), nil
	})
	if err := monitor.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = monitor.Process.Kill(); _ = monitor.Wait() }()
	time.Sleep(200 * time.Millisecond) // until ip listens
	start := time.Now()
	if err := putLease(store, l); err != nil {
		b.Fatal(err)
	}
	select {
	case at := <-seen:
		return at.Sub(start)
	case <-time.After(5 * time.Second):
		b.Fatal("the lease did not reach the kernel")
		return 0
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// cpuTime is what all threads of a process have used (/proc/PID/task/*/schedstat
// counts nanoseconds).
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("no threads of process %d: %v", pid, err)
	}
	var sum time.Duration
	for _, f := range files {
		stat, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		running, _, _ := strings.Cut(string(stat), " ")
		n, err := strconv.ParseInt(running, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

// residentKiB returns a field of /proc/PID/status, see proc(5).
func residentKiB(t testing.TB, pid int, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(size)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no " + field)
	return 0
}

func median[T int | float64 | time.Duration](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
