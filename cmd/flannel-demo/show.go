package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// printer writes the transcript.
type printer struct{ out io.Writer }

func (p *printer) title(format string, arg ...any) {
	fmt.Fprintf(p.out, "\n== "+format+"\n", arg...)
}

func (p *printer) line(format string, arg ...any) { fmt.Fprintf(p.out, format+"\n", arg...) }

// command prints a command as typed on a machine.
func (p *printer) command(where, format string, arg ...any) {
	fmt.Fprintf(p.out, "\n"+where+"# "+format+"\n", arg...)
}

func (p *printer) text(s string) { fmt.Fprintln(p.out, strings.TrimRight(s, "\n")) }

// commander is a namespace.
type commander interface {
	Output(program string, arg ...string) (string, error)
}

// output prints a command, runs it and prints its output.
func (p *printer) output(where string, ns commander, program string, arg ...string) error {
	p.command(where, "%s %s", program, strings.Join(arg, " "))
	out, err := ns.Output(program, arg...)
	p.text(out)
	return err
}

// showState prints what the daemons put into the store, the file system and the
// kernel.
func showState(ctx context.Context, c *cluster, p *printer) error {
	// A later host is known to the earlier ones only when their watch has
	// told them.
	for _, n := range c.nodes {
		for _, m := range c.nodes {
			if err := eventually(ctx, c.long(10*time.Second), func() error {
				return n.container.Run("ping", "-c1", "-W"+strconv.Itoa(min(c.patience, 10)), "-q", m.container.Addr().Addr().String())
			}); err != nil {
				return fmt.Errorf("reach %s from %s: %w", m.Name(), n.Name(), err)
			}
		}
	}
	if err := c.showLeases(ctx, p); err != nil {
		return err
	}
	first := c.nodes[0]
	p.command(first.Name(), "cat subnet.env")
	env, err := os.ReadFile(first.subnetFile())
	if err != nil {
		return err
	}
	p.text(string(env))
	if kind, ok := map[string]string{"udp": "tun", "vxlan": "vxlan"}[c.backend]; ok {
		if err := p.output(first.Name(), first, "ip", "-d", "link", "show", "type", kind); err != nil {
			return err
		}
	}
	return p.output(first.Name(), first, "ip", "route")
}

// showTraffic pings and fetches a page from the last host's container, in the
// first one's.
func showTraffic(ctx context.Context, c *cluster, p *printer) error {
	from, to := c.nodes[0], c.nodes[len(c.nodes)-1]
	addr := to.container.Addr().Addr().String()
	where := from.Name() + "/c1"
	if err := p.output(where, from.container, "ping", "-c3", "-i0.2", addr); err != nil {
		return err
	}
	www := filepath.Join(c.dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return err
	}
	page := fmt.Sprintf("hello from the container on %s\n", to.Name())
	if err := os.WriteFile(filepath.Join(www, "index.html"), []byte(page), 0o644); err != nil {
		return err
	}
	if _, err := startProcess(c, "httpd", to.container.Namespace, nil, "busybox", "httpd", "-f", "-p", "80", "-h", www); err != nil {
		return err
	}
	p.command(where, "curl http://%s/", addr)
	return eventually(ctx, c.long(5*time.Second), func() error {
		got, err := from.container.Output("curl", "-sS", "--noproxy", "*", "--max-time", "5", "http://"+addr+"/")
		if err != nil {
			return err
		}
		if got != page {
			return fmt.Errorf("fetch page: got %q", got)
		}
		p.text(got)
		return nil
	})
}

// showKernelPath waits until the hosts between which is measured send through the kernel,
// both of them, where udp can, and shows what the first one's daemon says of it.
func showKernelPath(ctx context.Context, c *cluster, p *printer) error {
	if c.backend != "udp" {
		return nil
	}
	from, to := c.pair()
	for _, way := range [][2]*node{{from, to}, {to, from}} {
		if err := eventually(ctx, c.long(20*time.Second), func() error { return sendsByKernel(way[0], way[1]) }); err != nil {
			return err
		}
	}
	log, err := os.ReadFile(from.daemon.log)
	if err != nil {
		return err
	}
	const said = "through the kernel"
	p.command(from.Name(), "grep '%s' flanneld.log", said)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, said) {
			p.text(line)
		}
	}
	return nil
}

// sendsByKernel returns an error if the daemon does not say that packets to the peer go
// through the kernel, nor that they never will.
func sendsByKernel(n, peer *node) error {
	log, err := os.ReadFile(n.daemon.log)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `kernel="off`) ||
			strings.Contains(line, "Packets to a peer go through the kernel") && strings.HasSuffix(strings.TrimSpace(line), "="+peer.Addr().Addr().String()) {
			return nil
		}
	}
	return fmt.Errorf("%s does not say that packets to %s go through the kernel", n.Name(), peer.Name())
}
