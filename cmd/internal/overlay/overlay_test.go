package overlay

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"flanneld/backend"
	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/logtest"
	"flanneld/pkg/wake"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/tenant"
)

// newHost is a host with the subnet 10.5.1.0/24, and one more lease per address.
func newHost(t *testing.T, others map[string]string) *Host {
	t.Helper()
	cfg, _, err := config.Parse([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`))
	if err != nil {
		t.Fatal(err)
	}
	board := status.NewBoard(func(string) {})
	h := &Host{Config: cfg, Needed: func() ([]backend.Needed, error) { return nil, nil }, View: subnet.NewView(), Board: board, Docker: &host.Docker{Board: board},
		Wake: wake.New(), Standing: wake.New(), Began: make(chan struct{}), Log: slog.New(slog.DiscardHandler)}
	h.Tenant = tenant.New(tenant.Options{View: h.View, Changed: func(_, _ subnet.Standing) {}, Log: h.Log})
	own := leaseOf("10.5.1.0/24", "192.0.2.1")
	h.Tenant.Publish(own, nil)
	seen := subnet.Snapshot{Leases: []subnet.Lease{own}, Rev: 1}
	for subnet, public := range others {
		seen.Leases = append(seen.Leases, leaseOf(subnet, public))
	}
	h.Tenant.Begin(subnet.Acquired{Lease: own, Seen: seen}, false)
	return h
}

func leaseOf(prefix, public string) subnet.Lease {
	return subnet.Lease{Type: "vxlan", V4: subnet.Claim{Subnet: netip.MustParsePrefix(prefix), PublicIP: netip.MustParseAddr(public)}}
}

func TestAFencedHostForwardsToNobody(t *testing.T) {
	h := newHost(t, map[string]string{"10.5.2.0/24": "192.0.2.2"})
	h.Fence = true
	if planes, faults := h.Planes(); len(planes) != 1 || len(planes[0].Peers) != 1 || planes[0].Fenced || faults != nil {
		t.Errorf("a host whose lease is held has planes %+v, faults %v", planes, faults)
	}
	log := new(logtest.Buffer)
	h.Log = log.Logger()
	held, expired := subnet.Standing{State: subnet.Held}, subnet.Standing{State: subnet.Expired}
	h.LeaseChanged(held, expired)
	h.LeaseChanged(expired, held)
	if text := log.String(); !strings.Contains(text, "Fence: nothing is forwarded") || !strings.Contains(text, "Fence: forwarding again") {
		t.Errorf("the log has %q", text)
	}
}

// Every change of the standing is kept, but only another state changes what is forwarded.
func TestARenewalWakesNoPass(t *testing.T) {
	h := newHost(t, nil)
	held := subnet.Standing{State: subnet.Held}
	h.LeaseChanged(held, subnet.Standing{State: subnet.Held, Deadline: 1})
	if len(h.Standing) != 1 || len(h.Wake) != 0 {
		t.Errorf("a renewal left %d tokens for the cache and %d for the loop, want 1 and 0", len(h.Standing), len(h.Wake))
	}
	h.LeaseChanged(held, subnet.Standing{State: subnet.AtRisk})
	if len(h.Wake) != 1 {
		t.Error("another state woke no pass")
	}
}

// moves is told of a move.
type moves struct {
	backend.Backend
	underlay string
	lost     bool
}

func (m *moves) SetUnderlay(name string)       { m.underlay = name }
func (m *moves) Moved()                        { m.lost = true }
func (m *moves) Type() string                  { return "vxlan" }
func (m *moves) Advertise(*subnet.Claim) error { return nil }

func TestAMoveIsPublished(t *testing.T) {
	h := newHost(t, nil)
	m := new(moves)
	h.Firewall, h.Store = m, m
	to := backend.Underlay{Name: "lo", PublicV4: netip.MustParseAddr("192.0.2.7")}
	if err := h.Moved(to, m); err != nil {
		t.Fatal(err)
	}
	l, _ := h.Tenant.State()
	if l.V4.PublicIP != to.PublicV4 || l.V4.Subnet != netip.MustParsePrefix("10.5.1.0/24") {
		t.Errorf("the lease is %+v after the move", l)
	}
	if m.underlay != "lo" || !m.lost || len(h.Local) == 0 {
		t.Errorf("told %+v; this host's own subnets are %v", *m, h.Local)
	}
}
