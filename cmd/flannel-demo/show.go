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
func showState(ctx context.Context, c *cluster, p *printer, backend string) error {
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
	if kind, ok := map[string]string{"udp": "tun", "vxlan": "vxlan"}[backend]; ok {
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
