package host

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/cmd/internal/status"
	"flanneld/subnet"
)

// newDocker returns a Docker with a file of its own, and how often Ready was called.
func newDocker(t *testing.T) (*Docker, *int) {
	t.Helper()
	ready := 0
	log := slog.New(slog.DiscardHandler)
	return &Docker{
		SubnetFile: filepath.Join(t.TempDir(), "subnet.env"), Network: netip.MustParsePrefix("10.1.0.0/16"),
		Board: status.NewBoard(func(string) {}),
		Ready: func() { ready++ }, Log: log,
	}, &ready
}

var lease = subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix("10.1.2.0/24")}}

// A host can find out that its subnet is another's before its first pass is over: when
// it starts from what it knew, and etcd answers then. Docker must not be started with it.
func TestNoSubnetIsHandedOverThatIsAnothers(t *testing.T) {
	const want = "FLANNEL_SUBNET=10.1.2.1/24\n"
	for _, row := range []struct {
		name   string
		states []subnet.State // one at each pass
		again  bool           // the file is removed before the last one
		want   string         // part of the file; empty: there is none
	}{
		{"conflict", []subnet.State{subnet.Conflict}, false, ""},
		{"expired at the start", []subnet.State{subnet.Expired}, false, ""},
		{"held", []subnet.State{subnet.Held}, false, want},
		{"at risk", []subnet.State{subnet.AtRisk}, false, want},
		{"rebound", []subnet.State{subnet.Conflict, subnet.Rebound}, false, want},
		{"expired", []subnet.State{subnet.Held, subnet.Expired}, true, want},
		{"lost", []subnet.State{subnet.Held, subnet.Conflict}, true, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, ready := newDocker(t)
			for i, state := range row.states {
				if row.again && i == len(row.states)-1 {
					if err := os.Remove(h.SubnetFile); err != nil {
						t.Fatal(err)
					}
				}
				h.Begin()
				if err := h.Done(lease, state, 1450, 0); err != nil {
					t.Fatal(err)
				}
			}
			if file, _ := os.ReadFile(h.SubnetFile); row.want == "" && len(file) > 0 || !strings.Contains(string(file), row.want) {
				t.Errorf("the subnet file is %q, want %q", file, row.want)
			}
			times := 0
			if row.want != "" || row.again {
				times = 1
			}
			if *ready != times {
				t.Errorf("systemd was told READY=1 %d times, want %d", *ready, times)
			}
			if told := h.Told(); (told != Handover{}) != (times == 1) {
				t.Errorf("Told is %+v", told)
			}
		})
	}
}

// A pass that was under way when a reload was asked for does not end it.
func TestAReloadIsOverAfterAPassThatBeganLater(t *testing.T) {
	h, ready := newDocker(t)
	pass := func() {
		t.Helper()
		if err := h.Done(lease, subnet.Held, 1450, 0); err != nil {
			t.Fatal(err)
		}
	}
	h.Begin()
	pass()
	h.Begin()
	h.reload.Store(true)
	pass()
	if *ready != 1 {
		t.Errorf("READY=1 was told %d times before the reload was over, want 1", *ready)
	}
	if err := os.WriteFile(h.SubnetFile, []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Begin()
	pass()
	if file, _ := os.ReadFile(h.SubnetFile); *ready != 2 || !strings.Contains(string(file), "FLANNEL_SUBNET=10.1.2.1/24\n") {
		t.Errorf("after the reload the file is %q, and READY=1 was told %d times", file, *ready)
	}
}
