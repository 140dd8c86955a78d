// Command flannel-demo shows flanneld at work on one machine: three hosts (each
// a network namespace), an etcd between them, a daemon on each and a container
// behind each. It prints what an operator would look at and how fast packets
// go, and leaves nothing behind. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"flanneld/pkg/netlab"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// limit bounds one backend's showing, and its measurements. It takes about five seconds;
// past this something hangs.
const limit = 45 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(status(run(ctx, os.Args[1:], os.Stdout)))
}

// status reports an error to the operator and returns the exit status.
func status(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("flannel-demo", flag.ContinueOnError)
	program := flags.String("flanneld", "bin/flanneld", "daemon to run")
	etcd := flags.String("etcd", string(etcdproc.Debian), "etcd to run: a name in PATH, or a path such as bin/flannel-etcd")
	store := api("v3")
	flags.Var(&store, "etcd-api", "API of etcd to use, v2 or v3")
	backends := flags.String("backend", "udp,vxlan,host-gw", "backend types to show, one after the other")
	seconds := flags.Int("seconds", 1, "duration of each throughput measurement")
	patience := flags.Int("patience", 1, "how many times longer than usual to wait, for machines that are emulated")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *patience < 1 {
		return fmt.Errorf("--patience=%d: must be 1 or more", *patience)
	}
	if err := netlab.Supported(); err != nil {
		return err
	}
	daemon, err := filepath.Abs(*program)
	if err != nil {
		return fmt.Errorf("locate flanneld: %w", err)
	}
	if _, err := os.Stat(daemon); err != nil {
		return fmt.Errorf("locate flanneld (make build makes it): %w", err)
	}
	*etcd, err = exec.LookPath(*etcd)
	if err == nil {
		*etcd, err = filepath.Abs(*etcd)
	}
	if err != nil {
		return fmt.Errorf("locate etcd (Debian: etcd-server; make etcd makes bin/flannel-etcd): %w", err)
	}
	if err := removeRemains(); err != nil {
		return fmt.Errorf("remove what an earlier demonstration has left: %w", err)
	}
	var shown []*cluster
	defer func() {
		for _, c := range shown {
			err = c.close(err)
		}
	}()
	for _, backend := range strings.Split(*backends, ",") {
		c, err := show(ctx, out, programs{daemon, *etcd}, store, backend, *patience)
		if err != nil {
			return fmt.Errorf("show %s: %w", backend, err)
		}
		shown = append(shown, c)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(shown)**patience)*limit)
	defer cancel()
	results, err := measure(ctx, shown, &printer{out: out}, *seconds)
	if err != nil {
		return interrupted(ctx, fmt.Errorf("measure: %w", err))
	}
	printResults(out, results)
	return nil
}

// programs are the paths of what is run.
type programs struct{ flanneld, etcd string }

// show builds a cluster and shows one backend in it. The cluster stays.
func show(ctx context.Context, out io.Writer, run programs, store api, backend string, patience int) (c *cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(patience)*limit)
	defer cancel()
	addrs, ok := underlays[backend]
	if !ok {
		return nil, fmt.Errorf("no such backend; there are udp, vxlan and host-gw")
	}
	if c, err = newCluster(backend, addrs, store, patience); err != nil {
		return nil, err
	}
	p := &printer{out: out}
	p.title("%s: hosts %s, leases in etcd's %s API", backend, strings.Join(addrs, ", "), store)
	for _, step := range []func(context.Context, *printer) error{
		func(ctx context.Context, p *printer) error { return c.startEtcd(ctx, run.etcd) },
		c.configure,
		func(ctx context.Context, p *printer) error { return c.startDaemons(ctx, p, run.flanneld) },
		c.addContainers,
		func(ctx context.Context, p *printer) error { return showState(ctx, c, p) },
		func(ctx context.Context, p *printer) error { return showTraffic(ctx, c, p) },
		func(ctx context.Context, p *printer) error { return showKernelPath(ctx, c, p) },
	} {
		if err := step(ctx, p); err != nil {
			return nil, interrupted(ctx, c.close(err))
		}
	}
	return c, nil
}

// interrupted returns the error of a step. What a program says that an interrupt
// ended, by ctx or from the terminal, explains nothing.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == context.Canceled {
		return context.Canceled
	}
	return err
}

// underlays has the hosts' addresses by backend type. The last host of udp and vxlan is
// behind a router; host-gw needs every host on one subnet, since it makes hosts each other's
// gateways.
var underlays = map[string][]string{
	"udp":     {"192.168.1.11/24", "192.168.1.12/24", "192.168.2.11/24"},
	"vxlan":   {"192.168.1.11/24", "192.168.1.12/24", "192.168.2.11/24"},
	"host-gw": {"192.168.1.11/24", "192.168.1.12/24", "192.168.1.13/24"},
}
