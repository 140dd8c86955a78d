package script

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/logtest"
	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
)

// Program is the daemon that scripts test.
type Program struct {
	Name string   // in messages, such as "flanneld"
	Path string   // of its file
	Env  []string // the daemon's, in addition to the test's own

	// Flags come before those of a script.
	Flags func(n *Node) []string
	// Variables returns what a script finds as ${h1_NAME} once the host h1 is up, given
	// its subnet file; nil: there are none.
	Variables func(subnetFile string) map[string]string
	Devices   string // pattern of those that a reboot removes, such as "flannel*"
	Stopped   int    // exit status after SIGTERM

	Etcd     string                    // path or name of the etcd
	EtcdArgs func(dir string) []string // for a single member with its data in dir
	// EtcdKnows returns those of a member's arguments that the etcd knows; nil: all.
	EtcdKnows func(args []string) []string
}

// Cluster is a real etcd and real hosts, each a network namespace.
type Cluster struct {
	Lab *netlab.Lab

	t       testing.TB
	program Program
	api     string   // of etcd, that its client and daemons use from now on: "v3", or empty
	server  *Process // etcd; nil before its first start
	data    string   // etcd's directory
}

// NewCluster starts etcd beside the hosts' router.
func NewCluster(t testing.TB, program Program) *Cluster {
	t.Helper()
	c := newLab(t, program)
	if err := c.startEtcd(); err != nil {
		t.Fatal(err)
	}
	return c
}

// newLab is a Cluster without etcd.
func newLab(t testing.TB, program Program) *Cluster {
	t.Helper()
	for _, name := range []string{program.Etcd, "etcdctl", "busybox", "curl", "ping"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed (Debian: etcd-server etcd-client busybox-static curl iputils-ping)")
		}
	}
	return &Cluster{t: t, Lab: labtest.New(t), program: program, data: filepath.Join(t.TempDir(), "etcd")}
}

// startEtcd starts etcd on the data of the last one, if there are any, and waits
// until it answers. It is the only member, so that it elects itself at once. The last of
// several values of one flag counts.
func (c *Cluster) startEtcd(flags ...string) error {
	c.server = c.Start(c.Lab.Switch().Namespace, nil, c.program.Etcd, c.known(append(c.program.EtcdArgs(c.data), flags...))...)
	return Eventually(10*time.Second, func() error {
		return c.Lab.Switch().Run("curl", "-fsS", "http://127.0.0.1:2379/health")
	})
}

// known returns those of a member's arguments that the etcd knows.
func (c *Cluster) known(args []string) []string {
	if c.program.EtcdKnows == nil {
		return args
	}
	return c.program.EtcdKnows(args)
}

// KillEtcd ends etcd as a crash does.
func (c *Cluster) KillEtcd() { c.server.Kill() }

// Process is a running program. It is killed when the test ends.
type Process struct {
	*exec.Cmd
	Log  logtest.Buffer
	done chan struct{}
}

// Start runs a program until the test ends.
func (c *Cluster) Start(ns netlab.Namespace, env []string, program string, arg ...string) *Process {
	c.t.Helper()
	return c.startWith(ns, env, nil, program, arg...)
}

// startWith is Start for a program that inherits files, from descriptor 3 on. It closes
// them here.
func (c *Cluster) startWith(ns netlab.Namespace, env []string, files []*os.File, program string, arg ...string) *Process {
	c.t.Helper()
	p := &Process{Cmd: ns.Command(context.Background(), program, arg...), done: make(chan struct{})}
	// A daemon would take variables of tests, such as the etcd to use, for its own flags.
	p.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FLANNELD_TEST_") }), env...)
	p.Stdout, p.Stderr = &p.Log, &p.Log
	p.ExtraFiles = files
	err := p.Start()
	for _, f := range files {
		_ = f.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.Wait() }()
	c.t.Cleanup(func() {
		p.Kill()
		if c.t.Failed() && env != nil { // a daemon
			c.t.Logf("log of %s in %s:\n%s", filepath.Base(program), ns.Namespace(), p.Log.String())
		}
	})
	return p
}

// Kill ends it at once, and waits for its end.
func (p *Process) Kill() {
	_ = p.Process.Kill()
	<-p.done
}

// Exited waits for a process to end by itself, and returns its exit status; -1
// if a signal ended it.
func (p *Process) Exited(within time.Duration) (int, error) {
	if _, ok := await(within, p.done); !ok {
		return 0, fmt.Errorf("it still runs after %s", within)
	}
	return p.ProcessState.ExitCode(), nil
}

// Eventually repeats f until it returns nil, or until the stopwatch has reached the limit.
func Eventually(within time.Duration, f func() error) error {
	watch := startStopwatch()
	for {
		err := f()
		late := watch.elapsed() > within
		switch {
		case err == nil && !late:
			return nil
		case err == nil:
			return fmt.Errorf("it took longer than %s", within)
		case late:
			return fmt.Errorf("not within %s: %w", within, err)
		}
		time.Sleep(50 * time.Millisecond) // less would keep a core busy
	}
}

// Use makes an API of etcd's, "v2" or "v3", the one that configuration and leases are written by.
func (c *Cluster) Use(api string) { c.api = strings.TrimPrefix(api, "v2") }
