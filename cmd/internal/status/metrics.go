//go:build !no_etcd3

package status

import (
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metric describes one, whose name follows "flanneld_". One that ends in _total is a
// counter, all others but those of the tally's times are gauges.
type metric struct {
	help   string
	labels []string
}

// metrics are all that there are. Their values are the Board's in another form: nothing is
// measured for them alone, and nobody who reads them asks the kernel or etcd.
var metrics = map[string]metric{
	"build_info":         {"Which flanneld this is; always 1.", []string{"version", "goversion"}},
	"start_time_seconds": {"When the daemon was started, in seconds since 1970.", nil},
	"ready":              {"Whether containers of this host can be reached and Docker was told its subnet.", nil},
	"condition":          {"1 for the state that a part is in, 0 for the others.", []string{"part", "state"}},
	"backend_info":       {"How packets get to peers; always 1.", []string{"type", "path", "device"}},
	"mtu_bytes":          {"The overlay's MTU.", nil},

	"lease_state":                     {"1 for the state that the lease is in, 0 for the others.", []string{"state"}},
	"lease_reserved":                  {"Whether the lease is a reservation, which never expires.", nil},
	"lease_expiry_timestamp_seconds":  {"When the lease ends, in seconds since 1970; absent for a reservation.", nil},
	"lease_renewed_timestamp_seconds": {"When the lease's last good write was sent, in seconds since 1970.", nil},
	"lease_renewals_total":            {"Tries to renew the lease.", []string{"result"}},
	"lease_state_changes_total":       {"How often the lease came into each state.", []string{"state"}},
	"lease_conflicts_total":           {"How often another host had this host's subnet.", nil},
	"network_leases":                  {"Leases that are known, this host's included.", nil},
	"network_subnets":                 {"Subnets that hosts can lease.", nil},

	"etcd_api_info":                        {"Which of etcd's APIs has the network; always 1.", []string{"api"}},
	"etcd_up":                              {"Whether etcd answered the last request.", nil},
	"etcd_last_answer_timestamp_seconds":   {"When etcd last answered, in seconds since 1970.", nil},
	"etcd_requests_total":                  {"Requests to etcd; those that it answered with no are refused.", []string{"operation", "result"}},
	"etcd_request_duration_seconds":        {"How long etcd took to answer.", []string{"operation"}},
	"watch_up":                             {"Whether the watch of other hosts' leases works.", nil},
	"watch_last_listing_timestamp_seconds": {"When all leases were last read, in seconds since 1970.", nil},
	"watch_events_total":                   {"Changes of leases that the watch reported.", nil},
	"watch_resyncs_total":                  {"How often all leases had to be read again, and why.", []string{"reason"}},

	"peers":                          {"Subnets of other hosts, by state and path.", []string{"state", "path"}},
	"datapath_passes_total":          {"Comparisons of the kernel with what is wanted.", []string{"result"}},
	"datapath_pass_duration_seconds": {"How long comparisons with the kernel took, changes included.", nil},
	"datapath_changes_total":         {"Changes that were made to the kernel's network state.", []string{"kind"}},
	"datapath_repairs_total":         {"Changes of others that were undone.", []string{"kind"}},
	"firewall_passes_total":          {"Comparisons of the packet filter with what is wanted.", []string{"result"}},
	"firewall_pass_duration_seconds": {"How long comparisons with the packet filter took, changes included.", nil},
	"firewall_repairs_total":         {"Rules that others had changed, and that were put right.", nil},

	"device_bytes_total":           {"What the overlay's device has moved since it was made.", []string{"direction"}},
	"device_packets_total":         {"What the overlay's device has moved since it was made.", []string{"direction"}},
	"device_dropped_packets_total": {"Packets that the overlay's device has dropped since it was made.", nil},
	"dropped_packets_total":        {"Packets that the daemon or its packet filter has dropped.", []string{"direction", "reason"}},
	"udp_packets_total":            {"Packets that the udp backend has moved.", []string{"direction"}},
	"udp_bytes_total":              {"Bytes of these packets.", []string{"direction"}},
	"udp_messages_total":           {"Batches of datagrams that the udp backend has moved; packets divided by batches is the batch size.", []string{"direction"}},
	"udp_units_total":              {"Reads from the device, or writes to it.", []string{"direction"}},
	"udp_calls_total":              {"System calls on the socket that have moved something.", []string{"direction"}},
	"udp_events_total":             {"What else the udp backend counts.", []string{"event"}},
}

const namespace = "flanneld_"

// metricsHandler answers with all metrics, in whatever of Prometheus' formats is asked for.
func metricsHandler(b *Board, log *slog.Logger) http.Handler {
	r := prometheus.NewRegistry()
	c := collector{b, make(map[string]*prometheus.Desc, len(metrics))}
	for name, m := range metrics {
		c.descs[name] = prometheus.NewDesc(namespace+name, m.help, m.labels, nil)
	}
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError})
}

// collector makes metrics of a Board.
type collector struct {
	board *Board
	descs map[string]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.board.Status()
	set := func(name string, v float64, labels ...string) {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(name, "_total") {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[name], kind, v, labels...)
	}
	daemonMetrics(&s, set)
	networkMetrics(&s, set)
	for _, n := range s.Counters {
		name, labels := c.of(n)
		set(name, float64(n.Value), labels...)
	}
	for _, h := range c.board.Histograms() {
		name := h.Name + "_seconds"
		buckets := make(map[float64]uint64, len(Bounds))
		for i, bound := range Bounds {
			buckets[bound] = h.Buckets[i]
		}
		out <- prometheus.MustNewConstHistogram(c.descs[name], h.Count, h.Sum, buckets, inOrder(metrics[name].labels, h.Labels)...)
	}
}

type setter func(name string, v float64, labels ...string)

func (set setter) when(name string, t time.Time) {
	if !t.IsZero() {
		set(name, float64(t.UnixMilli())/1000)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// daemonMetrics are those of the daemon and of its parts.
func daemonMetrics(s *Status, set setter) {
	set("build_info", 1, s.Version, runtime.Version())
	set.when("start_time_seconds", s.Started)
	set("ready", truth(s.Ready))
	if s.Backend.Type != "" {
		set("backend_info", 1, s.Backend.Type, s.Backend.Path, s.Backend.Device)
	}
	if s.Backend.MTU != 0 {
		set("mtu_bytes", float64(s.Backend.MTU))
	}
	for part, now := range map[string]State{"etcd": s.Etcd.State, "config": s.Config.State, "datapath": s.Datapath.State, "firewall": s.Firewall.State,
		"subnet_file": s.SubnetFile.State, "docker_bridge": s.DockerBridge.State, "forwarding": s.Forwarding.State} {
		for _, state := range []State{Waiting, OK, Degraded, Failing, Off} {
			set("condition", truth(now == state), part, string(state))
		}
	}
	if s.Etcd.API != "" {
		set("etcd_api_info", 1, s.Etcd.API)
	}
	if s.Etcd.State != Waiting {
		set("etcd_up", truth(s.Etcd.State == OK))
		set("watch_up", truth(!s.Etcd.WatchFailing))
	}
	set.when("etcd_last_answer_timestamp_seconds", s.Etcd.LastAnswer)
	set.when("watch_last_listing_timestamp_seconds", s.Etcd.LastListing)
}

// networkMetrics are those of the lease, the other hosts and the device.
func networkMetrics(s *Status, set setter) {
	for _, state := range []string{"acquiring", "held", "at risk", "expired", "conflict", "rebound"} {
		set("lease_state", truth(s.Lease.State == state), state)
	}
	if s.Lease.Subnet.IsValid() {
		set("lease_reserved", truth(s.Lease.Reserved))
	}
	set.when("lease_expiry_timestamp_seconds", s.Lease.Expires)
	set.when("lease_renewed_timestamp_seconds", s.Lease.Renewed)
	if s.Network.Subnets > 0 {
		set("network_leases", float64(s.Network.Leases))
		set("network_subnets", float64(s.Network.Subnets))
	}
	for state, n := range map[PeerState]int{PeerProgrammed: s.Peers.Programmed, PeerPending: s.Peers.Pending, PeerFailed: s.Peers.Failed,
		PeerSkipped: s.Peers.Skipped, PeerIgnored: s.Peers.Ignored, "kept": s.Peers.Kept} {
		if state == PeerProgrammed && s.Backend.Kernel != "" {
			n -= s.Peers.InKernel
			set("peers", float64(s.Peers.InKernel), string(state), "kernel")
		}
		set("peers", float64(n), string(state), s.Backend.Path)
	}
	if n := len(s.Traffic); n > 0 {
		t := s.Traffic[n-1]
		set("device_bytes_total", float64(t.RxBytes), "received")
		set("device_bytes_total", float64(t.TxBytes), "sent")
		set("device_packets_total", float64(t.RxPackets), "received")
		set("device_packets_total", float64(t.TxPackets), "sent")
		set("device_dropped_packets_total", float64(t.Dropped))
	}
}

// of returns the metric that shows a counter, and the values of its labels.
func (c collector) of(n Counter) (name string, labels []string) {
	name = n.Name + "_total"
	if m, ok := metrics[name]; ok {
		return name, inOrder(m.labels, n.Labels)
	}
	if reason, ok := strings.CutPrefix(n.Name, "peers_"); ok { // the packet filter's
		return "dropped_packets_total", []string{"received", "filter_" + strings.TrimSuffix(reason, "_packets")}
	}
	event := strings.TrimPrefix(n.Name, "udp_")
	for prefix, direction := range map[string]string{"tx_": "sent", "rx_": "received"} {
		what, ok := strings.CutPrefix(event, prefix)
		if !ok {
			continue
		}
		if reason, ok := strings.CutPrefix(what, "dropped_"); ok {
			return "dropped_packets_total", []string{direction, reason}
		}
		if _, ok := metrics["udp_"+what+"_total"]; ok {
			return "udp_" + what + "_total", []string{direction}
		}
	}
	return "udp_events_total", []string{event}
}

func inOrder(names []string, values map[string]string) (list []string) {
	for _, name := range names {
		list = append(list, values[name])
	}
	return list
}
