package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"text/tabwriter"
	"time"

	"flanneld/pkg/netlab"
)

// result is one measured path.
type result struct {
	backend, path string
	bitsPerSecond float64
	rtt           float64 // average, in milliseconds
}

// measure compares the path between two containers with the one between their
// hosts.
func measure(ctx context.Context, c *cluster, p *printer, backend string, seconds int) ([]result, error) {
	a, b := c.nodes[0], c.nodes[len(c.nodes)-1]
	p.line("\nmeasuring for %d s each …", seconds)
	var results []result
	for _, path := range []struct {
		name     string
		from, to netlab.Namespace
		addr     string
	}{
		{"host to host (underlay)", a.Namespace, b.Namespace, b.Addr().Addr().String()},
		{"container to container", a.container.Namespace, b.container.Namespace, b.container.Addr().Addr().String()},
	} {
		r := result{backend: backend, path: path.name}
		var err error
		if r.rtt, err = roundTrip(ctx, path.from, path.addr); err != nil {
			return nil, err
		}
		if r.bitsPerSecond, err = throughput(ctx, c, path.from, path.to, path.addr, seconds); err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

var rttLine = regexp.MustCompile(`rtt min/avg/max/mdev = [\d.]+/([\d.]+)/`)

// roundTrip returns the average of 50 pings, in milliseconds.
func roundTrip(ctx context.Context, from netlab.Namespace, addr string) (float64, error) {
	out, err := from.Command(ctx, "ping", "-q", "-c50", "-i0.01", addr).Output()
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", addr, err)
	}
	m := rttLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ping %s: no times in %q", addr, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// throughput returns what one TCP stream carries, in bits per second as the
// receiver counts them.
func throughput(ctx context.Context, c *cluster, from, to netlab.Namespace, addr string, seconds int) (float64, error) {
	var server *process
	var bitsPerSecond float64
	err := eventually(ctx, c.long(5*time.Second), func() error {
		// A server ends with its first client, also one through which nothing came.
		if server == nil || server.ended() {
			var err error
			if server, err = startProcess(c, "iperf3 in "+to.Namespace(), to, nil, "iperf3", "-s", "-1"); err != nil {
				return err
			}
		}
		out, err := from.Command(ctx, "iperf3", "-c", addr, "-t", strconv.Itoa(seconds), "--json").Output()
		if err != nil {
			return fmt.Errorf("run iperf3 to %s: %w: %s", addr, err, out)
		}
		bitsPerSecond, err = parseReport(out)
		return err
	})
	return bitsPerSecond, err
}

// parseReport returns the bits per second in iperf3's JSON. Its exit status
// says nothing: with --json, version 3.12 ends with 0 also when the connection
// is refused, as it is before the server listens.
func parseReport(data []byte) (float64, error) {
	var report struct {
		Error string
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return 0, fmt.Errorf("parse iperf3 report: %w", err)
	}
	if report.Error != "" {
		return 0, fmt.Errorf("measure with iperf3: %s", report.Error)
	}
	if report.End.Received.BitsPerSecond <= 0 {
		return 0, fmt.Errorf("measure with iperf3: nothing was received")
	}
	return report.End.Received.BitsPerSecond, nil
}

func printResults(out io.Writer, results []result) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "backend\tpath\tTCP, one stream\tping")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%.1f Gbit/s\t%.3f ms\n", r.backend, r.path, r.bitsPerSecond/1e9, r.rtt)
	}
	w.Flush()
}
