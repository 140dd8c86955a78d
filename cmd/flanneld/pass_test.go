package main

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flanneld/backend/loop"
	"flanneld/cmd/internal/options"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/netlab/script"
	"flanneld/pkg/systemd"
	"flanneld/pkg/systemd/fake"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

// A host can find out that its subnet is another's before its first pass is over: when
// it starts from what it knew, and etcd answers then. Docker must not be started with it.
func TestPassedHandsNoSubnetOverThatIsAnothers(t *testing.T) {
	const nothing = ""
	for _, row := range []struct {
		name   string
		states []subnet.State // one at each pass
		again  bool           // the file is removed before the last one
		want   string         // part of the file; empty: there is none
	}{
		{"conflict", []subnet.State{subnet.Conflict}, false, nothing},
		{"expired at the start", []subnet.State{subnet.Expired}, false, nothing},
		{"held", []subnet.State{subnet.Held}, false, "FLANNEL_SUBNET=10.1.2.1/24\n"},
		{"at risk", []subnet.State{subnet.AtRisk}, false, "FLANNEL_SUBNET=10.1.2.1/24\n"},
		{"rebound", []subnet.State{subnet.Conflict, subnet.Rebound}, false, "FLANNEL_SUBNET=10.1.2.1/24\n"},
		{"expired", []subnet.State{subnet.Held, subnet.Expired}, true, "FLANNEL_SUBNET=10.1.2.1/24\n"},
		{"lost", []subnet.State{subnet.Held, subnet.Conflict}, true, nothing},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "notify")
			t.Setenv("NOTIFY_SOCKET", path)
			said, err := script.Listen(path, "", new(fake.Manager))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			log := slog.New(slog.DiscardHandler)
			d := &daemon{opts: options.Daemon{SubnetFile: filepath.Join(t.TempDir(), "subnet.env")},
				cfg: config.Config{V4: config.Range{Network: netip.MustParsePrefix("10.1.0.0/16")}}, board: status.NewBoard(func(string) {}), started: func() {},
				tell: &systemd.Notifier{Log: log}, log: log, passedOnce: make(chan struct{})}
			d.lease.V4.Subnet = netip.MustParsePrefix("10.1.2.0/24")
			for i, state := range row.states {
				if row.again && i == len(row.states)-1 {
					if err := os.Remove(d.opts.SubnetFile); err != nil {
						t.Fatal(err)
					}
				}
				d.standing.State = state
				if err := d.passed(loop.Pass{Ready: true, MTU: 1450}); err != nil {
					t.Fatal(err)
				}
			}
			file, _ := os.ReadFile(d.opts.SubnetFile)
			if text := string(file); row.want == nothing && text != "" || !strings.Contains(text, row.want) {
				t.Errorf("the subnet file is %q, want one with %q", text, row.want)
			}
			d.tell.Status("the end")
			if err := script.Eventually(time.Second, func() error {
				log := said.Log.String()
				if ready := row.want != nothing || row.again; !strings.HasSuffix(log, "STATUS=the end\n") || strings.Contains(log, "READY=1") != ready {
					return script.Mistake("systemd was told %q; want READY: %t", log, ready)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
