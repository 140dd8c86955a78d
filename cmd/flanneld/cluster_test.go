package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/envfile"
	"flanneld/pkg/netlab"
)

// converge is how soon after any disturbance all must be right again.
const converge = 2 * time.Second

// cluster is a real etcd and real hosts, each a network namespace.
type cluster struct {
	t   testing.TB
	lab *netlab.Lab
}

// newCluster starts etcd beside the hosts' router.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("etcd is not installed (Debian: etcd-server)")
	}
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{t, lab}
	c.start(lab.Switch().Namespace, nil, "etcd", "--enable-v2=true", "--data-dir", t.TempDir(), "--log-level=error",
		"--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync")
	eventually(t, 10*time.Second, func() error {
		return lab.Switch().Run("curl", "-fsS", "http://127.0.0.1:2379/health")
	})
	return c
}

// process is a running program. It is killed when the test ends.
type process struct {
	*exec.Cmd
	log  buffer
	done chan struct{}
}

func (c *cluster) start(ns netlab.Namespace, env []string, program string, arg ...string) *process {
	c.t.Helper()
	p := &process{Cmd: ns.Command(context.Background(), program, arg...), done: make(chan struct{})}
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = &p.log, &p.log
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.Wait() }()
	c.t.Cleanup(func() {
		p.kill()
		if c.t.Failed() && program != "etcd" {
			c.t.Logf("log of %s in %s:\n%s", filepath.Base(program), ns.Namespace(), p.log.String())
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// stop asks the process to end and returns its exit status.
func (p *process) stop() int {
	_ = p.Process.Signal(unix.SIGTERM)
	<-p.done
	return p.ProcessState.ExitCode()
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// etcd makes a request to the v2 API and returns the answer's body.
func (c *cluster) etcd(method, key string, form ...string) string {
	c.t.Helper()
	args := []string{"-sS", "-X", method, "http://127.0.0.1:2379/v2/keys/coreos.com/network" + key}
	for _, f := range form {
		args = append(args, "--data-urlencode", f)
	}
	out, err := c.lab.Switch().Output("curl", args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) configure(doc string) {
	c.t.Helper()
	if out := c.etcd("PUT", "/config", "value="+doc); !strings.Contains(out, `"action"`) {
		c.t.Fatalf("write config: %s", out)
	}
}

// leases returns the values under subnets by the last element of their key.
func (c *cluster) leases() map[string]string {
	c.t.Helper()
	var answer struct {
		Node struct {
			Nodes []struct{ Key, Value string }
		}
	}
	if err := json.Unmarshal([]byte(c.etcd("GET", "/subnets?recursive=true&quorum=true")), &answer); err != nil {
		c.t.Fatal(err)
	}
	m := make(map[string]string)
	for _, n := range answer.Node.Nodes {
		m[filepath.Base(n.Key)] = n.Value
	}
	return m
}

// node is a host that runs flanneld.
type node struct {
	*netlab.Host
	c         *cluster
	dir       string
	daemon    *process
	container *netlab.Container
}

func (c *cluster) node(name, addr string) *node {
	c.t.Helper()
	h, err := c.lab.Host(name, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return &node{Host: h, c: c, dir: c.t.TempDir()}
}

func (n *node) subnetFile() string { return filepath.Join(n.dir, "subnet.env") }

// launch starts flanneld and returns without waiting.
func (n *node) launch(flags ...string) {
	n.c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.c.t.Fatal(err)
	}
	args := append([]string{"--etcd-endpoints=http://" + n.Gateway().String() + ":2379",
		"--subnet-file=" + n.subnetFile(), "--state-dir=" + filepath.Join(n.dir, "state")}, flags...)
	n.daemon = n.c.start(n.Namespace, []string{asDaemon + "=1", "NOTIFY_SOCKET=" + filepath.Join(n.dir, "notify")}, self, args...)
}

// up starts flanneld and waits until it tells systemd that it is ready.
func (n *node) up(flags ...string) {
	n.c.t.Helper()
	path := filepath.Join(n.dir, "notify")
	_ = os.Remove(path)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.c.t.Cleanup(func() { _ = socket.Close() })
	n.launch(flags...)
	_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
	for buf := make([]byte, 4096); ; {
		size, err := socket.Read(buf)
		if err != nil {
			n.c.t.Fatalf("%s did not become ready: %v", n.Name(), err)
		}
		if strings.Contains(string(buf[:size]), "READY=1") {
			break
		}
	}
	if n.env("FLANNEL_SUBNET") == "" {
		n.c.t.Fatalf("%s is ready without a subnet file", n.Name())
	}
}

func (n *node) env(name string) string {
	vars, err := envfile.Read(n.subnetFile())
	if err != nil {
		n.c.t.Fatal(err)
	}
	return vars[name]
}

// run adds a container behind the host, as Docker would.
func (n *node) run() {
	n.c.t.Helper()
	var mtu int
	_, _ = fmt.Sscan(n.env("FLANNEL_MTU"), &mtu)
	var err error
	n.container, err = n.Container("web", netip.MustParsePrefix(n.env("FLANNEL_SUBNET")), mtu)
	if err != nil {
		n.c.t.Fatal(err)
	}
}

// reaches pings from container to container with the largest packet that fits.
func (n *node) reaches(to *node) error {
	var mtu int
	_, _ = fmt.Sscan(n.env("FLANNEL_MTU"), &mtu)
	return n.container.Run("ping", "-c1", "-W1", "-Mdo", fmt.Sprintf("-s%d", mtu-28), to.container.Addr().Addr().String())
}

func (n *node) ip(arg ...string) {
	n.c.t.Helper()
	if err := n.Run("ip", arg...); err != nil {
		n.c.t.Fatal(err)
	}
}

// eventually tries until f returns nil, for so long.
func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", within, err)
}

// logged waits until the daemon has logged text.
func (n *node) logged(text string) {
	n.c.t.Helper()
	eventually(n.c.t, 5*time.Second, func() error {
		if !strings.Contains(n.daemon.log.String(), text) {
			return fmt.Errorf("%q is not in the log", text)
		}
		return nil
	})
}
