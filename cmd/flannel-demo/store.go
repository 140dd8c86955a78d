package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	etcdproc "flanneld/subnet/storetest/etcd"
)

const prefix = "/coreos.com/network"

// api is one of etcd's: "v2" or "v3".
type api string

// Set implements flag.Value.
func (a *api) Set(s string) error {
	if s != "v2" && s != "v3" {
		return fmt.Errorf("etcd has the APIs v2 and v3")
	}
	*a = api(s)
	return nil
}

func (a *api) String() string { return string(*a) }

// args returns what follows etcdctl to ask whether the store is well, to write the
// network's configuration, and to show the leases, as an operator types it.
func (a api) args(config string) (health, write, leases []string) {
	if a == "v2" {
		return []string{"cluster-health"}, []string{"mk", prefix + "/config", config}, []string{"ls", "--sort", prefix + "/subnets"}
	}
	return []string{"endpoint", "health"}, []string{"put", prefix + "/config", config}, []string{"get", "--prefix", prefix + "/subnets/"}
}

// startEtcd starts the store in the switch's namespace and waits until it
// answers. It has the v2 API only where that is shown, since nobody else needs it.
func (c *cluster) startEtcd(ctx context.Context, program string) error {
	m := etcdproc.Member{
		Dir: filepath.Join(c.dir, "etcd"), Clients: "http://0.0.0.0:2379", Peers: "http://127.0.0.1:2380",
		// Clients go where the members say they are, whatever they were told.
		Advertise: "http://" + c.nodes[0].Gateway().String() + ":2379",
	}
	args := m.Args()
	if c.api == "v3" {
		args = append(args, "--enable-v2=false")
	}
	_, err := startProcess(c, "etcd", c.lab.Switch().Namespace, nil, program, etcdproc.Program(program).Knows(args)...)
	if err != nil {
		return err
	}
	health, _, _ := c.api.args("")
	return eventually(ctx, c.long(10*time.Second), func() error {
		_, err := c.etcdctl(ctx, health...)
		return err
	})
}

// etcdctl runs the store's own client beside it.
func (c *cluster) etcdctl(ctx context.Context, arg ...string) (string, error) {
	limits := []string{"--command-timeout=" + c.long(5*time.Second).String(), "--dial-timeout=" + c.long(2*time.Second).String()}
	if c.api == "v2" {
		limits = []string{"--timeout=" + c.long(2*time.Second).String(), "--total-timeout=" + c.long(5*time.Second).String()}
	}
	cmd := c.lab.Switch().Command(ctx, "etcdctl", append(limits, arg...)...)
	cmd.Env = append(environ(), "ETCDCTL_API="+strings.TrimPrefix(string(c.api), "v"))
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("run etcdctl %s: %w: %s", arg[0], err, bytes.TrimSpace(failed.Stderr))
	}
	return string(out), err
}

// configure writes the network's configuration, as an operator does.
func (c *cluster) configure(ctx context.Context, p *printer) error {
	_, write, _ := c.api.args(fmt.Sprintf(`{"Network": "10.100.0.0/16", "SubnetLen": 24, "Backend": {"Type": %q}}`, c.backend))
	before := ""
	if c.api == "v2" { // etcdctl 3.4 and later have the other one otherwise
		before = "ETCDCTL_API=2 "
	}
	p.command("switch", "%setcdctl %s %s '%s'", before, write[0], write[1], write[2])
	_, err := c.etcdctl(ctx, write...)
	return err
}

// showLeases prints what the daemons have put into the store.
func (c *cluster) showLeases(ctx context.Context, p *printer) error {
	_, _, leases := c.api.args("")
	typed := "etcdctl " + strings.Join(leases, " ")
	if c.api == "v2" { // which lists its keys alone
		typed = "export ETCDCTL_API=2; for key in $(" + typed + "); do echo $key; etcdctl get $key; done"
	}
	p.command("switch", "%s", typed)
	out, err := c.etcdctl(ctx, leases...)
	if err != nil || c.api == "v3" {
		p.text(out)
		return err
	}
	for _, key := range strings.Fields(out) {
		value, err := c.etcdctl(ctx, "get", key)
		if err != nil {
			return err
		}
		p.line("%s\n%s", key, strings.TrimSpace(value))
	}
	return nil
}
