package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkPeerFilter measures TCP between two containers over VXLAN with 5,000
// peers in the filter, beside the same without a filter, in turns. The daemons are
// dead meanwhile, or they would put the filter back.
//
// A round is three runs, without, with and without the filter, whose order turns. A
// machine that does other things meanwhile does them to all: what counts is the
// median of the rounds' ratios, and how sure that is. The two runs without the filter
// are compared in the same way, and their ratio would be 1 on a machine without noise.
func BenchmarkPeerFilter(b *testing.B) {
	const peers = 5000
	c := newCluster(b)
	c.configure(`{"Network":"10.0.0.0/8","SubnetMin":"10.200.0.0","SubnetLen":24,"Backend":{"Type":"vxlan"}}`)
	store := newLoader(c.lab.Switch().Namespace)
	for i := range peers {
		if err := store.put(peerLease(i, "vxlan")); err != nil {
			b.Fatal(err)
		}
	}
	var hosts []*node
	for i := range 2 {
		n := c.node(fmt.Sprint("h", i), fmt.Sprintf("192.168.0.1%d/16", i))
		n.launch()
		if err := n.ready(time.Minute); err != nil {
			b.Fatal(err)
		}
		if err := n.run(); err != nil {
			b.Fatal(err)
		}
		hosts = append(hosts, n)
	}
	from, to := hosts[0], hosts[1]
	if err := eventually(30*time.Second, func() error {
		return from.container.Run("ping", "-c1", "-W1", to.addrs()[0].String())
	}); err != nil {
		b.Fatal(err)
	}
	for _, n := range hosts {
		n.daemon.kill()
	}
	for _, n := range hosts {
		out, err := n.Output("nft", "list", "table", "inet", "flanneld")
		if err != nil {
			b.Fatal(err)
		}
		if got := strings.Count(out, ".") / 3; got < peers {
			b.Fatalf("there are %d addresses in the filter of %s, want %d", got, n.Name(), peers)
		}
		if err := os.WriteFile(filepath.Join(n.dir, "table"), []byte(out), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	set := func(on bool) {
		for _, n := range hosts {
			_ = n.Run("nft", "delete", "table", "inet", "flanneld")
			if on {
				if err := n.Run("nft", "-f", filepath.Join(n.dir, "table")); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	var ons, offs, ratios, noise []float64
	to.c.start(to.container.Namespace, nil, "iperf3", "-s")
	throughput(b, from, to) // caches, and the bridges' tables
	for round := range filterRounds {
		var rate [3]float64 // without, with, without
		for turn := range 3 {
			kind := (turn + round) % 3
			set(kind == 1)
			rate[kind] = throughput(b, from, to)
		}
		off := (rate[0] + rate[2]) / 2
		offs, ons = append(offs, off), append(ons, rate[1])
		ratios, noise = append(ratios, rate[1]/off), append(noise, rate[2]/rate[0])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ons)/1e9, "on-Gbit/s")
	b.ReportMetric(median(offs)/1e9, "off-Gbit/s")
	for name, all := range map[string][]float64{"on/off": ratios, "off/off": noise} {
		low, high := interval(all)
		b.ReportMetric(median(all), name)
		b.ReportMetric(low, name+"-from")
		b.ReportMetric(high, name+"-to")
	}
}

// filterRounds is odd, and a multiple of three: each run has each place as often.
const filterRounds = 15

// interval returns the bounds between which the median lies of what the values were
// taken from, in 95 of 100 cases, whatever its distribution (the sign test's).
func interval(all []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(all))
	n := float64(len(sorted))
	k := max(int(math.Floor((n-1.96*math.Sqrt(n))/2)), 0)
	return sorted[k], sorted[len(sorted)-1-k]
}

// throughput returns the bits a second that arrive in the container of to, where a
// server runs.
func throughput(b *testing.B, from, to *node) float64 {
	b.Helper()
	var result struct {
		Error string
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	// With -J an error, such as that nobody listens yet, may come with status 0.
	if err := eventually(20*time.Second, func() error {
		out, err := from.container.Output("iperf3", "-J", "-t1", "-c", to.addrs()[0].String())
		if err == nil {
			err = json.Unmarshal([]byte(out), &result)
		}
		if err == nil && result.End.Received.Rate == 0 {
			err = fmt.Errorf("iperf3 says %q", result.Error)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return result.End.Received.Rate
}
