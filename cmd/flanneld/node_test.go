package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/envfile"
	"flanneld/pkg/netlab"
	debian "flanneld/pkg/netlab/machine"
	"flanneld/pkg/systemd/fake"
)

// readyTime is how long a daemon may take to become ready.
const readyTime = 10 * time.Second

// node is a host that runs flanneld, with at most one container behind it.
type node struct {
	*netlab.Host
	c         *cluster
	dir       string // subnet.env, and the daemon's state
	daemon    *process
	said      *notices     // by the daemon, to systemd
	manager   fake.Manager // what systemd keeps for the daemon; nothing, unless told to
	environ   []string     // of the daemon
	boots     int          // how often the host was rebooted
	disk      string       // the size of the daemon's own, as tmpfs(5) reads it; empty: it has none
	container *netlab.Container
	web       *process // the server in the container
	dockerd   *debian.Service
	dockerDir string // its files
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
	path := filepath.Join(n.dir, "notify")
	if n.said, err = listen(path, n.subnetFile(), &n.manager); err != nil {
		n.c.t.Fatal(err)
	}
	n.c.t.Cleanup(n.said.close)
	args := append([]string{"--etcd-endpoints=http://" + n.Gateway().String() + ":2379",
		"--subnet-file=" + n.subnetFile(), "--state-dir=" + filepath.Join(n.dir, "state")}, flags...)
	environ := append([]string{asDaemon + "=1", "NOTIFY_SOCKET=" + path}, n.environ...)
	files, handed := n.manager.Hand()
	before := ""
	if n.boots > 0 {
		id := filepath.Join(n.dir, "boot_id")
		if err := os.WriteFile(id, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n.boots), 0o444); err != nil {
			n.c.t.Fatal(err)
		}
		// In the mount namespace of its own that the command gets.
		before = "mount --bind '" + id + "' /proc/sys/kernel/random/boot_id && "
	}
	if n.disk != "" {
		before += "mkdir -p '" + n.dir + "/state' && mount -t tmpfs -o size=" + n.disk + " tmpfs '" + n.dir + "/state' && "
	}
	if files != nil {
		before += "export LISTEN_PID=$$ && "
	}
	if before != "" {
		args = append([]string{"-c", before + `exec "$0" "$@"`, self}, args...)
		self = "sh"
	}
	n.daemon = n.c.startWith(n.Namespace, append(environ, handed...), files, self, args...)
}

// ready waits until the daemon tells systemd that it is ready. By then there must
// have been a subnet file.
func (n *node) ready(within time.Duration) error {
	watch := startStopwatch()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case hasFile := <-n.said.ready:
			if !hasFile {
				return fmt.Errorf("%s was ready without a subnet file", n.Name())
			}
			return nil
		case <-n.daemon.done:
			return fmt.Errorf("flanneld on %s has ended", n.Name())
		case <-look.C:
			if watch.elapsed() > within {
				return fmt.Errorf("%s is not ready after %s", n.Name(), within)
			}
		}
	}
}

// env returns a variable of the subnet file, empty if it has none.
func (n *node) env(name string) string {
	vars, err := envfile.Read(n.subnetFile())
	if err != nil {
		n.c.t.Fatal(err)
	}
	return vars[name]
}

// run adds a container behind the host, as Docker would.
func (n *node) run() error {
	mtu, err := strconv.Atoi(n.env("FLANNEL_MTU"))
	if err != nil {
		return err
	}
	bridge, err := netip.ParsePrefix(n.env("FLANNEL_SUBNET"))
	if err != nil {
		return err
	}
	if n.container, err = n.Container("web", bridge, mtu); err != nil {
		return err
	}
	if v6 := n.env("FLANNEL_IPV6_SUBNET"); v6 != "" {
		if bridge, err = netip.ParsePrefix(v6); err != nil {
			return err
		}
		return n.container.AddIPv6(bridge)
	}
	return nil
}

// addrs are the container's addresses, without their lengths.
func (n *node) addrs() []netip.Addr {
	all := []netip.Addr{n.container.Addr().Addr()}
	if a := n.container.Addr6(); a.IsValid() {
		all = append(all, a.Addr())
	}
	return all
}

func (n *node) ip(arg ...string) {
	n.c.t.Helper()
	if err := n.Run("ip", arg...); err != nil {
		n.c.t.Fatal(err)
	}
}

// notices is what a daemon told systemd (sd_notify(3)).
type notices struct {
	socket *net.UnixConn
	log    buffer
	ready  chan bool                     // one value at READY=1: whether the subnet file was there
	took   atomic.Pointer[time.Duration] // until READY=1, on a stopwatch; nil: not yet
}

func listen(path, subnetFile string, manager *fake.Manager) (*notices, error) {
	_ = os.Remove(path)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &notices{socket: socket, ready: make(chan bool, 1)}
	watch := startStopwatch() // the daemon is started next
	go func() {
		for {
			message, err := manager.Receive(socket)
			if err != nil {
				return // closed
			}
			if strings.Contains(message, "READY=1") {
				took := watch.elapsed()
				s.took.CompareAndSwap(nil, &took)
				select {
				case s.ready <- unix.Access(subnetFile, unix.R_OK) == nil:
				default: // said twice
				}
			}
			_, _ = s.log.Write([]byte(message + "\n"))
		}
	}()
	return s, nil
}

func (s *notices) close() { _ = s.socket.Close() }
