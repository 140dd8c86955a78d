package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"flanneld/pkg/netlab"
)

// rounds is how often each path is measured. A machine that does something else for a
// moment slows one path of one round.
const rounds = 5

// path is one that is measured.
type path struct {
	backend  string // empty: none, between the hosts themselves
	cluster  *cluster
	from, to netlab.Namespace
	addr     string
	bits     []float64 // per second, by round
	rtts     []float64 // of pings, in milliseconds
}

// measure compares the paths between two containers, by each backend, with that between
// hosts. It measures them in turns.
func measure(ctx context.Context, clusters []*cluster, p *printer, seconds int) ([]*path, error) {
	from, to := clusters[0].pair()
	paths := []*path{{cluster: clusters[0], from: from.Namespace, to: to.Namespace, addr: to.Addr().Addr().String()}}
	for _, c := range clusters {
		from, to := c.pair()
		paths = append(paths, &path{backend: c.backend, cluster: c, from: from.container.Namespace, to: to.container.Namespace,
			addr: to.container.Addr().Addr().String()})
	}
	p.line("\nmeasuring between %s and %s, which are in one segment, in turns: %d rounds of %d s each …",
		from.Name(), to.Name(), rounds, seconds)
	for range rounds {
		for _, w := range paths {
			rtts, err := roundTrips(ctx, w.from, w.addr)
			if err != nil {
				return nil, err
			}
			bits, err := throughput(ctx, w.cluster, w.from, w.to, w.addr, seconds)
			if err != nil {
				return nil, err
			}
			w.rtts, w.bits = append(w.rtts, rtts...), append(w.bits, bits)
		}
	}
	return paths, nil
}

var rttOfPing = regexp.MustCompile(`time=([\d.]+) ms`)

// roundTrips returns the times of 20 pings, in milliseconds.
func roundTrips(ctx context.Context, from netlab.Namespace, addr string) (rtts []float64, err error) {
	out, err := from.Command(ctx, "ping", "-c20", "-i0.01", addr).Output()
	if err != nil {
		return nil, fmt.Errorf("ping %s: %w", addr, err)
	}
	for _, m := range rttOfPing.FindAllSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("ping %s: %w", addr, err)
		}
		rtts = append(rtts, ms)
	}
	if rtts == nil {
		return nil, fmt.Errorf("ping %s: no times in %q", addr, out)
	}
	return rtts, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
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

// printResults prints medians, and between what the rounds were, so that nobody takes chance for
// a difference: containers may look faster than their hosts.
func printResults(out io.Writer, paths []*path) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "backend\tpath\tTCP, one stream\tits rounds\tping")
	for _, p := range paths {
		backend, what := p.backend, "container to container"
		if backend == "" {
			backend, what = "none", "host to host (underlay)"
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f Gbit/s\t%.1f to %.1f\t%.3f ms\n", backend, what,
			median(p.bits)/1e9, slices.Min(p.bits)/1e9, slices.Max(p.bits)/1e9, median(p.rtts))
	}
	w.Flush()
	fmt.Fprintln(out, "\nWhere the rounds of two paths overlap, it may be chance which median is higher.")
}
