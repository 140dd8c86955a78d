package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"flanneld/pkg/netlab"
)

// cluster is a lab, what runs in it and where that keeps its files.
type cluster struct {
	backend   string
	dir       string
	lab       *netlab.Lab
	nodes     []*node
	processes []*process
	api       api      // the one of etcd's that is used
	lock      *os.File // says that this process lives
	patience  int      // how many times longer than usual to wait
}

// node is a host with a daemon and a container.
type node struct {
	*netlab.Host
	dir       string
	daemon    *process
	subnet    netip.Prefix // the bridge's address and length, from subnet.env
	container *netlab.Container
}

func newCluster(backend string, addrs []string, store api, patience int) (c *cluster, err error) {
	c = &cluster{backend: backend, api: store, patience: patience}
	defer func() {
		if err != nil {
			err = c.close(err)
		}
	}()
	if c.dir, err = os.MkdirTemp("", dirPrefix); err != nil {
		return c, err
	}
	if c.lab, err = netlab.New(); err != nil {
		return c, err
	}
	if c.lock, err = own(c.dir, c.lab.Name()); err != nil {
		return c, err
	}
	for i, addr := range addrs {
		h, err := c.lab.Host(fmt.Sprintf("host%d", i+1), addr)
		if err != nil {
			return c, err
		}
		n := &node{Host: h, dir: filepath.Join(c.dir, h.Name())}
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// close ends all processes, the last first, and removes namespaces and files.
// It returns err with whatever fails on the way, and with the end of the
// processes' logs if there is an error to explain.
func (c *cluster) close(err error) error {
	for i := len(c.processes) - 1; i >= 0; i-- {
		if e := c.processes[i].stop(c.long(5 * time.Second)); e != nil {
			err = errors.Join(err, e)
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		for _, p := range c.processes {
			if tail := p.logTail(); tail != "" {
				err = fmt.Errorf("%w\nlog of %s ends:\n%s", err, p.name, tail)
			}
		}
	}
	if c.lab != nil {
		err = errors.Join(err, c.lab.Close())
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// startDaemons starts one daemon per host and waits for all to be ready.
func (c *cluster) startDaemons(ctx context.Context, p *printer, program string) error {
	began := time.Now()
	ready := make([]*notifySocket, len(c.nodes))
	for i, n := range c.nodes {
		s, err := newNotifySocket(filepath.Join(n.dir, "notify"))
		if err != nil {
			return err
		}
		defer s.close()
		ready[i] = s
		args := []string{
			fmt.Sprintf("--etcd-endpoints=http://%s:2379", n.Gateway()),
			"--etcd-api=" + string(c.api),
			"--subnet-file=" + n.subnetFile(),
			"--state-dir=" + filepath.Join(n.dir, "state"),
			"--iface=" + n.Addr().Addr().String(),
		}
		p.command(n.Name(), "flanneld %s %s --subnet-file=…/subnet.env --state-dir=…/state %s &", args[0], args[1], args[4])
		n.daemon, err = startProcess(c, "flanneld on "+n.Name(), n.Namespace, []string{"NOTIFY_SOCKET=" + s.path}, program, args...)
		if err != nil {
			return err
		}
	}
	for i, s := range ready {
		if err := s.wait(ctx, c.nodes[i].daemon, c.long(15*time.Second)); err != nil {
			return err
		}
	}
	p.line("all three said READY=1 after %d ms", time.Since(began).Milliseconds())
	return nil
}

// pair returns the hosts between which is measured: two of one segment, so that no router's
// speed is measured.
func (c *cluster) pair() (from, to *node) { return c.nodes[0], c.nodes[1] }

func (n *node) subnetFile() string { return filepath.Join(n.dir, "subnet.env") }

// addContainers reads each host's subnet.env and makes the bridge and the
// container that Docker would make from it.
func (c *cluster) addContainers(ctx context.Context, p *printer) error {
	for _, n := range c.nodes {
		env, err := readEnv(n.subnetFile())
		if err != nil {
			return err
		}
		if n.subnet, err = netip.ParsePrefix(env["FLANNEL_SUBNET"]); err != nil {
			return fmt.Errorf("parse FLANNEL_SUBNET of %s: %w", n.Name(), err)
		}
		var mtu int
		if _, err := fmt.Sscan(env["FLANNEL_MTU"], &mtu); err != nil {
			return fmt.Errorf("parse FLANNEL_MTU of %s: %w", n.Name(), err)
		}
		if n.container, err = n.Container("c1", n.subnet, mtu); err != nil {
			return err
		}
	}
	return nil
}

// readEnv reads a file of KEY=value lines.
func readEnv(name string) (map[string]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	env := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[key] = value
		}
	}
	return env, nil
}

// long returns how long to wait for what usually comes within d.
func (c *cluster) long(d time.Duration) time.Duration { return time.Duration(c.patience) * d }

// environ is the environment of everything the demo starts: the path alone, so
// that no proxy and no FLANNELD_* setting of the caller's has a say.
func environ() []string { return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"} }

// eventually calls f until it returns nil. It returns f's last error if that
// takes longer than the timeout, and with it ctx's if that ends.
func eventually(ctx context.Context, timeout time.Duration, f func() error) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-late.C:
			return err
		case <-tick.C:
		}
	}
}
