package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/netlab/labtest"
	"flanneld/pkg/netlab/script"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// mostResident is how much memory the daemon may take for 5,000 peers on etcd's v2 API, in
// bytes, once it has started. The engine of udp has a huge page of buffers beside.
var mostResident = map[string]float64{"vxlan": 25e6, "host-gw": 25e6, "udp": 28e6}

// TestMemory is of the program as it is built for use, while it has nothing to do. A tenth is left
// for how the kernel keeps the program's file, which it maps in the portions that it was read in.
func TestMemory(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("it needs root, and takes most of a minute for each backend")
	}
	labtest.Native(t)
	for typ, most := range mostResident {
		t.Run(typ, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			h := newInhabited(t, typ, 5000)
			got := median(h.watch(h.quiet()))
			t.Logf("it takes %.1f MB", got/1e6)
			if got > most*1.1 {
				t.Errorf("that is more than %.1f MB", most/1e6)
			}
		})
	}
}

// BenchmarkMemory measures how much memory the daemon takes once it has started, then in a
// time in which it renews its lease, looks whether all is in place, is scraped a hundred
// times, and peers come and go; and after that. The bound is of the first and the last figure.
func BenchmarkMemory(b *testing.B) {
	for _, row := range []struct {
		typ   string
		peers int
	}{{"vxlan", 5000}, {"host-gw", 5000}, {"udp", 5000}, {"vxlan", 20000}} {
		b.Run(fmt.Sprintf("%s/%d", row.typ, row.peers), func(b *testing.B) {
			h := newInhabited(b, row.typ, row.peers)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(h.watch(h.quiet()))/1e6, "rss-MB")
			busy := h.live(time.Minute)
			b.ReportMetric(median(busy)/1e6, "busy-MB")
			b.ReportMetric(slices.Max(busy)/1e6, "busy-most-MB")
			b.ReportMetric(median(h.watch(h.quiet()))/1e6, "afterwards-MB")
			if row.peers == 5000 {
				b.ReportMetric(mostResident[row.typ]/1e6, "bound-MB")
			}
			for field, unit := range map[string]string{"RssAnon": "anon-MB", "RssFile": "file-MB"} {
				b.ReportMetric(float64(residentKiB(b, h.daemon.Process.Pid, field))*1024/1e6, unit)
			}
		})
	}
}

// inhabited is a host in a cluster of many, on which the daemon runs.
type inhabited struct {
	*starter
	store *script.Loader
	typ   string
}

// newInhabited starts a daemon that renews its lease after a minute.
func newInhabited(t testing.TB, typ string, peers int) inhabited {
	t.Helper()
	c := script.NewCluster(t, underTest(t, etcdproc.Chosen()))
	c.Use("v2")
	store := join(t, c, typ, peers)
	s := newStarter(t, c, c.Node("h1", "192.168.0.11/16"))
	s.flags = []string{"--subnet-lease-renew-margin=1439"}
	s.start()
	t.Cleanup(s.stop)
	return inhabited{s, store, typ}
}

// watch waits, and then returns what the daemon takes in bytes, ten times a second for so long.
func (h inhabited) watch(after, lasts time.Duration) (all []float64) {
	h.t.Helper()
	time.Sleep(after)
	for began := time.Now(); time.Since(began) < lasts; time.Sleep(100 * time.Millisecond) {
		all = append(all, float64(residentKiB(h.t, h.daemon.Process.Pid, "VmRSS"))*1024)
	}
	return all
}

// quiet is when to watch a daemon that has nothing to do, and for how long: a while after it has
// given memory back, when it has looked at the firewall some times.
func (h inhabited) quiet() (after, lasts time.Duration) {
	return settled + 8*time.Second, 20 * time.Second
}

// live has five peers come each second, and go after four seconds, and the daemon scraped,
// for so long. It returns what the daemon takes meanwhile, in bytes.
func (h inhabited) live(lasts time.Duration) (all []float64) {
	h.t.Helper()
	socket := strings.TrimSuffix(h.host.SubnetFile(), "subnet.env") + "flanneld.sock"
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	began := time.Now()
	for i := 0; time.Since(began) < lasts; i++ {
		l := peerLease(24000+i%1000, h.typ) // a host that is none of the others
		if err := h.store.Write("coreos.com/network/subnets/"+l.key, l.value, 4*time.Second); err != nil {
			h.t.Fatal(err)
		}
		if i%3 == 0 {
			answer, err := client.Get("http://localhost/metrics")
			if err != nil {
				h.t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
				h.t.Fatal(answer.Status, err)
			}
			_ = answer.Body.Close()
		}
		all = append(all, h.watch(200*time.Millisecond, time.Millisecond)...)
	}
	return all
}
