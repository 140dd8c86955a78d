package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkPeerFilter measures TCP between two containers over VXLAN with 5,000
// peers in the filter, beside the same without a filter, in turns. The daemons are
// dead meanwhile, or they would put the filter back.
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
	table := filepath.Join(b.TempDir(), "table")
	out, err := to.Output("nft", "list", "table", "inet", "flanneld")
	if err != nil {
		b.Fatal(err)
	}
	if got := strings.Count(out, ".") / 3; got < peers {
		b.Fatalf("there are %d addresses in the filter, want %d", got, peers)
	}
	if err := os.WriteFile(table, []byte(out), 0o600); err != nil {
		b.Fatal(err)
	}
	set := func(on bool) {
		for _, n := range hosts[1:] {
			_ = n.Run("nft", "delete", "table", "inet", "flanneld")
			if on {
				if err := n.Run("nft", "-f", table); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	var ons, offs, ratios []float64
	throughput(b, from, to) // caches, and the bridges' tables
	for round := range rounds {
		var rate [2]float64
		for turn := range 2 {
			on := (turn + round) % 2
			set(on == 1)
			rate[on] = throughput(b, from, to)
		}
		offs, ons, ratios = append(offs, rate[0]), append(ons, rate[1]), append(ratios, rate[1]/rate[0])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ons)/1e9, "on-Gbit/s")
	b.ReportMetric(median(offs)/1e9, "off-Gbit/s")
	b.ReportMetric(median(ratios), "x-of-off")
}

// throughput returns the bits a second that arrive in the container of to.
func throughput(b *testing.B, from, to *node) float64 {
	b.Helper()
	server := to.c.start(to.container.Namespace, nil, "iperf3", "-s", "-1")
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
		out, err := from.container.Output("iperf3", "-J", "-t2", "-c", to.addrs()[0].String())
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
	if _, err := server.exited(20 * time.Second); err != nil {
		b.Fatal(err)
	}
	return result.End.Received.Rate
}
