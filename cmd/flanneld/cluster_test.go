package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"flanneld/pkg/netlab"
	"flanneld/pkg/netlab/labtest"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// cluster is a real etcd and real hosts, each a network namespace.
type cluster struct {
	t      testing.TB
	lab    *netlab.Lab
	etcdBy etcdproc.Program
	server *process // etcd; nil before its first start
	data   string   // etcd's directory
}

// newCluster starts etcd beside the hosts' router.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := newLab(t, etcdproc.Chosen())
	if err := c.startEtcd(); err != nil {
		t.Fatal(err)
	}
	return c
}

// newLab is a cluster without etcd.
func newLab(t testing.TB, etcd etcdproc.Program) *cluster {
	t.Helper()
	for _, program := range []string{string(etcd), "etcdctl", "busybox", "curl", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed (Debian: etcd-server etcd-client busybox-static curl iputils-ping)")
		}
	}
	lab := labtest.New(t)
	return &cluster{t: t, lab: lab, etcdBy: etcd, data: filepath.Join(t.TempDir(), "etcd")}
}

// startEtcd starts etcd, with the data of the one before if there are any, and
// waits until it answers. It stands alone, so that it need not wait for a
// member before it elects itself.
func (c *cluster) startEtcd() error {
	m := etcdproc.Member{
		Dir: c.data, Clients: "http://0.0.0.0:2379", Advertise: "http://127.0.0.1:2379",
		Peers: "http://127.0.0.1:2380", Brisk: true,
	}
	c.server = c.start(c.lab.Switch().Namespace, nil, string(c.etcdBy), append(m.Args(), "--log-level=error")...)
	return eventually(10*time.Second, func() error {
		return c.lab.Switch().Run("curl", "-fsS", "http://127.0.0.1:2379/health")
	})
}

// process is a running program. It is killed when the test ends.
type process struct {
	*exec.Cmd
	log  buffer
	done chan struct{}
}

func (c *cluster) start(ns netlab.Namespace, env []string, program string, arg ...string) *process {
	c.t.Helper()
	return c.startWith(ns, env, nil, program, arg...)
}

// startWith is start for a program that gets files, from number 3 on. They are
// closed here.
func (c *cluster) startWith(ns netlab.Namespace, env []string, files []*os.File, program string, arg ...string) *process {
	c.t.Helper()
	p := &process{Cmd: ns.Command(context.Background(), program, arg...), done: make(chan struct{})}
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = &p.log, &p.log
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
		p.kill()
		if c.t.Failed() && env != nil { // a daemon
			c.t.Logf("log of %s in %s:\n%s", filepath.Base(program), ns.Namespace(), p.log.String())
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.done
}

// exited waits for a process to end by itself, and returns its exit status; -1
// if a signal ended it.
func (p *process) exited(within time.Duration) (int, error) {
	if _, ok := await(within, p.done); !ok {
		return 0, fmt.Errorf("it still runs after %s", within)
	}
	return p.ProcessState.ExitCode(), nil
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

// eventually tries until f returns nil, for so long on a stopwatch.
func eventually(within time.Duration, f func() error) error {
	watch := startStopwatch()
	for {
		err := f()
		late := watch.elapsed() > within
		switch {
		case err == nil && !late:
			return nil
		case err == nil:
			return fmt.Errorf("later than after %s", within)
		case late:
			return fmt.Errorf("not within %s: %w", within, err)
		}
		time.Sleep(50 * time.Millisecond) // less would keep a core busy
	}
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
