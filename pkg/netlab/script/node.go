package script

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
	"flanneld/pkg/logtest"
	"flanneld/pkg/netlab"
	debian "flanneld/pkg/netlab/machine"
	"flanneld/pkg/systemd/fake"
)

// readyTime is how long a daemon may take to become ready.
const readyTime = 10 * time.Second

// Node is a host that runs the daemon, with at most one container behind it.
type Node struct {
	*netlab.Host
	c         *Cluster
	Dir       string       // subnet.env, and the daemon's state
	Daemon    *Process     // the last that was started; nil: none was
	said      *Notices     // what the daemon told systemd
	manager   fake.Manager // keeps files for the daemon, as systemd does; none, unless told to
	Environ   []string     // of the daemon, in addition to Program.Env
	boots     int          // how often the host was rebooted
	disk      string       // size of the state directory's own disk, as in tmpfs(5); empty: it has none
	web       *netlab.Container
	server    *Process // in the container
	dockerd   *debian.Service
	dockerDir string // its files
}

// Node adds a host with an address, such as "192.168.1.11/24".
func (c *Cluster) Node(name, addr string) *Node {
	c.t.Helper()
	h, err := c.Lab.Host(name, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return &Node{Host: h, c: c, Dir: c.t.TempDir()}
}

// SubnetFile is the path of the file that the daemon writes for Docker.
func (n *Node) SubnetFile() string { return filepath.Join(n.Dir, "subnet.env") }

// Launch starts the daemon and returns without waiting.
func (n *Node) Launch(flags ...string) {
	n.c.t.Helper()
	program, path := n.c.program.Path, filepath.Join(n.Dir, "notify")
	var err error
	if n.said, err = Listen(path, n.SubnetFile(), &n.manager); err != nil {
		n.c.t.Fatal(err)
	}
	n.c.t.Cleanup(n.said.Close)
	args := append(n.c.program.Flags(n), flags...)
	environ := append(append([]string{"NOTIFY_SOCKET=" + path}, n.c.program.Env...), n.Environ...)
	files, handed := n.manager.Hand()
	before := ""
	if n.boots > 0 {
		id := filepath.Join(n.Dir, "boot_id")
		if err := os.WriteFile(id, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n.boots), 0o444); err != nil {
			n.c.t.Fatal(err)
		}
		// The command has a mount namespace of its own.
		before = "mount --bind '" + id + "' /proc/sys/kernel/random/boot_id && "
	}
	if n.disk != "" {
		before += "mkdir -p '" + n.Dir + "/state' && mount -t tmpfs -o size=" + n.disk + " tmpfs '" + n.Dir + "/state' && "
	}
	if files != nil {
		before += "export LISTEN_PID=$$ && "
	}
	if before != "" {
		args = append([]string{"-c", before + `exec "$0" "$@"`, program}, args...)
		program = "sh"
	}
	n.Daemon = n.c.startWith(n.Namespace, append(environ, handed...), files, program, args...)
}

// Ready waits until the daemon tells systemd that it is ready. It returns an error if
// there was no subnet file then.
func (n *Node) Ready(within time.Duration) error {
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
		case <-n.Daemon.done:
			return fmt.Errorf("%s on %s has ended", n.c.program.Name, n.Name())
		case <-look.C:
			if watch.elapsed() > within {
				return fmt.Errorf("%s is not ready after %s", n.Name(), within)
			}
		}
	}
}

// Env returns a variable of the subnet file, empty if the file does not have it.
func (n *Node) Env(name string) string {
	vars, err := envfile.Read(n.SubnetFile())
	if err != nil {
		n.c.t.Fatal(err)
	}
	return vars[name]
}

// AddContainer adds a container behind the host, as Docker would.
func (n *Node) AddContainer() error {
	mtu, err := strconv.Atoi(n.Env("FLANNEL_MTU"))
	if err != nil {
		return err
	}
	bridge, err := netip.ParsePrefix(n.Env("FLANNEL_SUBNET"))
	if err != nil {
		return err
	}
	if n.web, err = n.Container("web", bridge, mtu); err != nil {
		return err
	}
	if v6 := n.Env("FLANNEL_IPV6_SUBNET"); v6 != "" {
		if bridge, err = netip.ParsePrefix(v6); err != nil {
			return err
		}
		return n.web.AddIPv6(bridge)
	}
	return nil
}

// addrs are the container's addresses, without their lengths.
func (n *Node) addrs() []netip.Addr {
	all := []netip.Addr{n.web.Addr().Addr()}
	if a := n.web.Addr6(); a.IsValid() {
		all = append(all, a.Addr())
	}
	return all
}

// API is etcd's, that daemons use which are started now: "v3", or empty for the daemon's
// own choice.
func (n *Node) API() string { return n.c.api }

// Web returns the host's container; nil: there is none.
func (n *Node) Web() *netlab.Container { return n.web }

// IP runs ip on the host, or ends the test.
func (n *Node) IP(arg ...string) {
	n.c.t.Helper()
	if err := n.Run("ip", arg...); err != nil {
		n.c.t.Fatal(err)
	}
}

// Notices is what a daemon told systemd (sd_notify(3)).
type Notices struct {
	socket *net.UnixConn
	Log    logtest.Buffer
	ready  chan bool                     // one value at READY=1: whether the subnet file was there
	took   atomic.Pointer[time.Duration] // until READY=1, on a stopwatch; nil: not yet
}

// Listen listens for notices at a path. The subnet file is what READY=1 promises.
func Listen(path, subnetFile string, manager *fake.Manager) (*Notices, error) {
	_ = os.Remove(path)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &Notices{socket: socket, ready: make(chan bool, 1)}
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
				default: // it has said so before
				}
			}
			_, _ = s.Log.Write([]byte(message + "\n"))
		}
	}()
	return s, nil
}

// Close ends listening.
func (s *Notices) Close() { _ = s.socket.Close() }
