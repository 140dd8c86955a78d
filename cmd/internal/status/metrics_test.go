//go:build !no_etcd3

package status

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// scrape returns what the page has, in the text format.
func scrape(t testing.TB, s *Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.handler(nil).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// busy returns a board that has something to say about everything.
func busy(read func() []backend.Counter) *Board {
	b := NewBoard(func(string) {})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.clock = func() (time.Duration, time.Time) { return time.Hour, at }
	b.now.Started = at
	b.Describe("v1.0.0", "/coreos.com/network")
	cfg, _, err := config.Parse([]byte(`{"Network":"10.1.0.0/16","Backend":{"Type":"udp"}}`))
	if err != nil {
		panic(err)
	}
	b.SetBackend(cfg)
	b.SetPath("user space")
	b.SetAPI(func() string { return "v2" })
	b.SetLease(subnet.Standing{State: subnet.Held, Lease: one, Sent: time.Minute, Deadline: 2 * time.Hour})
	want(b, 2, 3)
	b.Passed(loop.Pass{MTU: 1472, Device: "flannel0", Kernel: "full", Took: 20 * time.Millisecond, Changes: map[string]int{"route": 1, "link": 2}, Repaired: true})
	b.Complete(one.Key(), 2)
	b.SetFirewall(nil, 3, time.Second)
	asked(b, "leases", nil, 3*time.Millisecond)
	asked(b, "refresh", errors.New("connection refused"), 2*time.Second)
	asked(b, "watch", errors.New("connection refused"), 0)
	heard(b)
	resync(context.Background(), b, "compacted")
	b.SetCounters(read)
	b.SetInKernel(func() []netip.Prefix { return []netip.Prefix{claim(2).Subnet, netip.MustParsePrefix("10.9.9.0/24")} })
	b.change(func(time.Time) {
		b.journal.counters = counted([]backend.Counter{{Name: "udp_tx_packets", Value: 5}, {Name: "udp_tx_bytes", Value: 500}, {Name: "udp_rx_messages", Value: 2},
			{Name: "udp_rx_units", Value: 3}, {Name: "udp_rx_calls", Value: 4}, {Name: "udp_tx_dropped_no_peer", Value: 1}, {Name: "udp_rx_dropped_refused", Value: 6}, {Name: "udp_icmp_sent", Value: 9},
			{Name: "peers_refused_packets", Value: 7}, {Name: "peers_spoofed_packets"}})
		b.journal.traffic = []Sample{{Time: at, RxBytes: 1, TxBytes: 2, RxPackets: 3, TxPackets: 4, Dropped: 5}}
	})
	return b
}

func pageOf(b *Board) *Server { return &Server{board: b, log: slog.New(slog.DiscardHandler)} }

func TestMetrics(t *testing.T) {
	page := scrape(t, pageOf(busy(nil)))
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	docs, err := os.ReadFile("../../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range metrics {
		if !strings.Contains(string(docs), "| `"+name+"` |") {
			t.Errorf("docs/health.md has no %s", name)
		}
		if !strings.Contains(page, "# TYPE "+namespace+name+" ") {
			t.Errorf("the page has no %s", name)
		}
	}
	if !strings.Contains(page, "\ngo_goroutines ") || !strings.Contains(page, "\nprocess_open_fds ") {
		t.Error("the page lacks the process's or Go's metrics")
	}
	ours := regexp.MustCompile(`(?m)^flanneld_.*\n`).FindAllString(page, -1)
	got := strings.ReplaceAll(strings.Join(ours, ""), runtime.Version(), "go")
	file := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(golden), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A counter of the backend that nobody has thought of is no reason for a page without any.
func TestMetricsOfAnyCounter(t *testing.T) {
	b := busy(nil)
	b.change(func(time.Time) {
		b.journal.counters = counted([]backend.Counter{{Name: "udp_tx_new"}, {Name: "new"}, {Name: "udp_rx_dropped_new"}, {Name: "peers_new_packets"}})
	})
	page := scrape(t, pageOf(b))
	for _, want := range []string{`udp_events_total{event="tx_new"}`, `udp_events_total{event="new"}`, `dropped_packets_total{direction="received",reason="new"}`,
		`dropped_packets_total{direction="received",reason="filter_new"}`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}

// cluster returns the board of a host that forwards to so many others.
func cluster(b *Board, hosts int) {
	var p backend.Plane
	for n := range hosts {
		a := netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0})
		p.Peers = append(p.Peers, subnet.Claim{Subnet: netip.PrefixFrom(a, 24), PublicIP: a.Next()})
	}
	b.Want([]backend.Plane{p}, nil, hosts+1, 0)
	b.Passed(loop.Pass{Peers: hosts, Ready: true})
}

func TestScrapesAreCheap(t *testing.T) {
	looks := 0
	b := busy(func() []backend.Counter { looks++; return nil })
	cluster(b, 5000)
	s := pageOf(b)
	h := s.handler(nil)
	scrape := func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	scrape()
	before := heap()
	for range 1000 {
		scrape()
	}
	after := heap()
	if after > before+before/4+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if looks != 0 {
		t.Errorf("the backend was asked %d times, which may ask the kernel", looks)
	}
}

func Benchmark5000Peers(b *testing.B) {
	board := busy(nil)
	cluster(board, 5000)
	h := pageOf(board).handler(nil)
	for _, path := range []string{"/metrics", "/v1/status"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
			}
		})
	}
}
