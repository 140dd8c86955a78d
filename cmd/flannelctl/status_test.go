package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// answering is a daemon that says one thing. It returns the flags to ask it by.
func answering(t testing.TB, s status.Status) (flags []string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "flanneld.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return []string{"--status-socket=" + socket, "--state-dir=" + t.TempDir()}
}

// aStatus is that of a host that is well.
func aStatus() status.Status {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ok := status.Condition{State: status.OK, Since: now.Add(-3 * time.Hour)}
	return status.Status{
		Schema: status.Schema, Time: now, Started: now.Add(-72 * time.Hour), Version: "v1.0.0", PID: 812, Prefix: "/coreos.com/network",
		Text: "10.5.1.0/24 vxlan, 2 peers", Ready: true,
		Lease: status.Lease{State: "held", Since: now.Add(-72 * time.Hour), Subnet: netip.MustParsePrefix("10.5.1.0/24"), PublicIP: netip.MustParseAddr("192.0.2.1"),
			Renewed: now.Add(-17 * time.Minute), Expires: now.Add(23*time.Hour + 43*time.Minute)},
		Network:  status.Network{Network: netip.MustParsePrefix("10.5.0.0/16"), SubnetLen: 24, Leases: 3, Subnets: 255},
		Backend:  status.Backend{Type: "vxlan", Path: "kernel", Device: "flannel.1", MTU: 1450},
		Underlay: status.Underlay{Interface: "eth0", MTU: 1500, Address: netip.MustParseAddr("192.0.2.1"), Since: now.Add(-72 * time.Hour)},
		Etcd:     status.Etcd{Condition: ok, API: "v3", LastAnswer: now.Add(-4 * time.Second)},
		Config:   ok, Datapath: ok, Firewall: ok, SubnetFile: ok, DockerBridge: ok, Forwarding: ok,
		Peers: status.Peers{Wanted: 2, Programmed: 2},
	}
}

func TestStatusOfAHost(t *testing.T) {
	const table = `
PART          STATE   SINCE  ABOUT
daemon        runs    3d     v1.0.0, process 812, etcd prefix /coreos.com/network
lease         held    3d     10.5.1.0/24, as 192.0.2.1, renewed 17m ago, ends in 23h
network       -       -      10.5.0.0/16, 3 of 255 subnets leased
backend       -       -      vxlan, by the kernel path, device flannel.1, MTU 1450
underlay      -       3d     eth0 192.0.2.1, MTU 1500
peers         2 of 2  -      -
etcd          ok      3h     API v3, last answer 4s ago
config        ok      3h     -
datapath      ok      3h     -
firewall      ok      3h     -
subnetFile    ok      3h     -
dockerBridge  ok      3h     -
forwarding    ok      3h     -
`
	well := aStatus()
	away := aStatus()
	away.Etcd.Condition = status.Condition{State: status.Failing, Since: away.Time.Add(-5 * time.Minute), Reason: "dial tcp 192.0.2.9:2379: connect: connection refused"}
	away.Errors = []status.Event{{Time: away.Time.Add(-5 * time.Minute), Level: "error", Text: "etcd unreachable; \x1b[31mtraffic goes on", Count: 3}}
	lost := aStatus()
	lost.Ready, lost.NotReady, lost.Text = false, []string{"lease: conflict: 10.5.1.0/24 is leased to 192.0.2.7 now"}, "lost the lease on 10.5.1.0/24"
	lost.Peers = status.Peers{Wanted: 5, Programmed: 1, Failed: 1, Skipped: 1, Pending: 2, Ignored: 1}
	for _, tt := range []struct {
		name   string
		s      status.Status
		args   string
		status int
		want   []string // what it prints, or begins, has and ends with
	}{
		{"well", well, "", exitDone, []string{"ready: 10.5.1.0/24 vxlan, 2 peers\n" + table}},
		{"well, in brief", well, "--brief", exitDone, []string{"ready: 10.5.1.0/24 vxlan, 2 peers\n"}},
		{"trouble", away, "", exitFailed, []string{"ready, with trouble\n  etcd: failing: dial tcp 192.0.2.9:2379: connect: connection refused\n\nPART", "etcd          failing  5m     API v3, last answer 4s ago, dial tcp",
			"Last warnings and errors:\n  5m ago  error  etcd unreachable;  [31mtraffic goes on (3 times)\n"}},
		{"trouble, in brief", away, "--brief", exitFailed, []string{"ready, with trouble: etcd: failing: dial tcp 192.0.2.9:2379: connect: connection refused\n"}},
		{"trouble, for who waits", away, "--brief --wait=1m", exitDone, []string{"ready, with trouble"}},
		{"not ready", lost, "", exitFailed, []string{"not ready: lost the lease on 10.5.1.0/24\n  lease: conflict: 10.5.1.0/24 is leased to 192.0.2.7 now\n\n", "1 of 5  -      1 failed, 1 skipped, 2 pending, 1 lease ignored\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, got := run(t, append(append([]string{"status"}, answering(t, tt.s)...), strings.Fields(tt.args)...)...)
			if got != tt.status || errs != "" {
				t.Errorf("status %d, %q", got, errs)
			}
			if len(tt.want) == 1 && strings.HasSuffix(tt.want[0], "\n") {
				if diff := cmp.Diff(tt.want[0], out); diff != "" {
					t.Errorf("it prints (-want +got)\n%s", diff)
				}
			}
			for i, want := range tt.want {
				if !strings.Contains(out, want) || i == 0 && !strings.HasPrefix(out, want) {
					t.Errorf("there is no %q in\n%s", want, out)
				}
			}
		})
	}
	if doc, err := os.ReadFile("../../docs/flannelctl.md"); err != nil || !strings.Contains(string(doc), table) {
		t.Errorf("docs/flannelctl.md has not this table, %v:\n%s", err, table)
	}
	out, errs, got := run(t, append([]string{"status", "-o", "json"}, answering(t, away)...)...)
	var back status.Status
	if err := json.Unmarshal([]byte(out), &back); err != nil || got != exitFailed || errs != "" {
		t.Errorf("status %d, %q, %v", got, errs, err)
	}
	if diff := cmp.Diff(away, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("as JSON (-want +got)\n%s", diff)
	}
}

func TestStatusThatCannotBeTold(t *testing.T) {
	newer := aStatus()
	newer.Schema = 2
	out, errs, got := run(t, append([]string{"status"}, answering(t, newer)...)...)
	if got != exitUsage || out != "" || !strings.Contains(errs, "speaks version 2 of the status") || !strings.Contains(errs, "hint: use the flannelctl of the daemon's package") {
		t.Errorf("status %d, %q, %q", got, errs, out)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, got = run(t, "status", "--status-socket="+file+"/sock"); got != exitUsage || out != "" || !strings.Contains(errs, "hint: ") {
		t.Errorf("status %d, %q, %q", got, errs, out)
	}
	if _, errs, got = run(t, "status", "--wait=-1s"); got != exitUsage || !strings.Contains(errs, "--wait is negative") {
		t.Errorf("status %d, %q", got, errs)
	}
}

// A script may wait for a host whose daemon starts later.
func TestStatusWaitsUntilTheHostIsReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s.sock")
	ended := make(chan int, 1)
	go func() {
		_, _, got := run(t, "status", "--brief", "--wait=10s", "--status-socket="+socket, "--state-dir="+t.TempDir())
		ended <- got
	}()
	b := status.NewBoard(func(string) {})
	ctx, cancel := context.WithCancel(t.Context())
	s := status.ListenSocket(socket, b, slog.New(slog.DiscardHandler))
	served := make(chan struct{})
	go func() { defer close(served); s.Run(ctx) }()
	defer func() { cancel(); <-served }()
	select {
	case got := <-ended:
		t.Fatalf("it ended with status %d before the host was ready", got)
	case <-time.After(3 * pollTime):
	}
	subnets := subnet.Claim{Subnet: netip.MustParsePrefix("10.5.1.0/24")}
	b.SetUnusable("")
	b.SetBackend(config.Config{Type: "vxlan"})
	b.SetLease(subnet.Standing{State: subnet.Held, Lease: subnet.Lease{V4: subnets}})
	b.Complete(subnet.Key{V4: subnets.Subnet}, 0)
	if got := <-ended; got != exitDone {
		t.Errorf("status %d", got)
	}
}

// A daemon of another network does not hide that this network's is stopped. If nobody knows of
// which network the one is that is asked for, a script that waits goes on waiting.
func TestStatusBesideAnotherNetworksDaemon(t *testing.T) {
	release, err := host.LockNetwork("/beside", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := t.TempDir()
	ask := func(environ []string, args ...string) (errs string, status int, took time.Duration) {
		var stdout, stderr bytes.Buffer
		began := time.Now()
		status = program(t.Context(), append([]string{"status", "--state-dir=" + dir}, args...), environ, &stdout, &stderr)
		return stdout.String() + stderr.String(), status, time.Since(began)
	}
	own := []string{"FLANNELD_SUBNET_FILE=" + dir + "/subnet.env", "FLANNELD_ETCD_PREFIX=/stopped"}
	if out, got, _ := ask(own); got != exitFailed || !strings.Contains(out, "and a flanneld runs here for /beside") || strings.Contains(out, "error:") {
		t.Errorf("the network's own files: status %d, %q", got, out)
	}
	if out, got, _ := ask(own[:1], "--subnet-file="+dir+"/other.env"); got != exitUsage || !strings.Contains(out, "error: there is no "+dir+"/other.sock, and a flanneld") {
		t.Errorf("files that nobody knows: status %d, %q", got, out)
	}
	own[1] = "FLANNELD_ETCD_PREFIX=/beside"
	if out, got, _ := ask(own); got != exitUsage || !strings.Contains(out, "error: there is no ") {
		t.Errorf("the daemon that runs, without a socket: status %d, %q", got, out)
	}
	if out, got, took := ask(own, "--wait=500ms"); got != exitUsage || took < 500*time.Millisecond {
		t.Errorf("who waits: status %d after %s, %q", got, took, out)
	}
}

func TestAge(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{-time.Hour: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 3 * time.Hour: "3h", 49 * time.Hour: "2d"} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
	if got := fmt.Sprint(age(now, time.Time{})); got != "-" {
		t.Errorf("an unknown time is %s", got)
	}
}
