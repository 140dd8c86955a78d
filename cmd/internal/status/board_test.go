package status

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/pkg/datapath"
	"flanneld/pkg/logtest"
	"flanneld/subnet"
	"flanneld/subnet/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func lease(text string) (l subnet.Lease) {
	l.V4.Subnet = netip.MustParsePrefix(text)
	return l
}

var (
	one   = lease("10.1.1.0/24")
	other = lease("10.1.2.0/24")
)

func standing(s subnet.State, l subnet.Lease, reason string) subnet.Standing {
	return subnet.Standing{State: s, Lease: l, Reason: reason}
}

// start returns a board of a host that is held and ready with two peers.
func start(b *Board) {
	b.SetUnusable("")
	b.SetBackend(config.Config{Type: "vxlan"})
	b.SetLease(standing(subnet.Acquiring, subnet.Lease{}, ""))
	b.SetLease(standing(subnet.Held, one, ""))
	b.Complete(one.Key(), 2)
}

// kernel is a pass after which the kernel is said to move packets so.
func kernel(b *Board, how string) {
	b.Passed(loop.Pass{Kernel: how})
	b.Complete(one.Key(), 2)
}

func TestBoardSaysEachTextOnce(t *testing.T) {
	broken := errors.New("add route: no buffer space")
	for _, row := range []struct {
		name  string
		do    func(*Board)
		ready bool
		want  []string // after those of start
	}{
		{"a complete pass", func(b *Board) { b.Complete(one.Key(), 2) }, true, nil},
		{"peers", func(b *Board) { b.Complete(one.Key(), 3) }, true, []string{"10.1.1.0/24 vxlan, 3 peers"}},
		{"an incomplete pass", func(b *Board) { b.Incomplete(broken); b.Incomplete(broken) }, false,
			[]string{"10.1.1.0/24 vxlan; the datapath is not as it should be: add route: no buffer space"}},
		{"no firewall", func(b *Board) { b.Incomplete(nil) }, false, []string{"10.1.1.0/24 vxlan; the firewall's rules are not in place yet"}},
		{"in place again", func(b *Board) { b.Incomplete(nil); b.Complete(one.Key(), 2) }, true,
			[]string{"10.1.1.0/24 vxlan; the firewall's rules are not in place yet", "10.1.1.0/24 vxlan, 2 peers"}},
		{"no subnet file", func(b *Board) { b.Unwritten(errors.New("Failed to write subnet file: no space left")) }, false,
			[]string{"Failed to write subnet file: no space left"}},
		{"at risk", func(b *Board) { b.SetLease(standing(subnet.AtRisk, one, "connection refused")) }, true,
			[]string{"10.1.1.0/24 vxlan, 2 peers; the lease is at risk: connection refused"}},
		{"at risk, etcd away, Docker elsewhere", func(b *Board) {
			b.SetEtcdAway(true)
			b.SetTrouble(DockerBridge, "docker0 has 172.17.0.1/16")
			b.SetLease(standing(subnet.AtRisk, one, "not verified"))
		}, true, []string{
			"10.1.1.0/24 vxlan, 2 peers; etcd is away, and this is what was known before",
			"10.1.1.0/24 vxlan, 2 peers; etcd is away, and this is what was known before; docker0 has 172.17.0.1/16",
			"10.1.1.0/24 vxlan, 2 peers; the lease is at risk: not verified; etcd is away, and this is what was known before; docker0 has 172.17.0.1/16",
		}},
		{"etcd is back", func(b *Board) { b.SetEtcdAway(true); b.SetEtcdAway(false) }, true, []string{
			"10.1.1.0/24 vxlan, 2 peers; etcd is away, and this is what was known before", "10.1.1.0/24 vxlan, 2 peers"}},
		{"etcd has lost leases", func(b *Board) { b.Want(nil, nil, 1, 2); b.Want(nil, nil, 1, 2); b.Want(nil, nil, 1, 0) }, true, []string{
			"10.1.1.0/24 vxlan, 2 peers; etcd has lost the leases of 2 hosts, which are kept", "10.1.1.0/24 vxlan, 2 peers"}},
		{"a configuration that cannot be used", func(b *Board) { b.SetUnusable("etcd has none"); b.SetUnusable("") }, true, []string{
			"10.1.1.0/24 vxlan, 2 peers; the network configuration cannot be used: etcd has none", "10.1.1.0/24 vxlan, 2 peers"}},
		{"the kernel moves packets", func(b *Board) { kernel(b, "off (no ping yet)"); kernel(b, "off (no ping yet)"); kernel(b, "full") }, true, []string{
			"10.1.1.0/24 vxlan, 2 peers, kernel=off (no ping yet)", "10.1.1.0/24 vxlan, 2 peers, kernel=full"}},
		{"renewed", func(b *Board) { b.SetLease(subnet.Standing{State: subnet.Held, Lease: one, Deadline: time.Hour}) }, true, nil},
		{"expired", func(b *Board) { b.SetLease(standing(subnet.Expired, one, "")); b.Complete(one.Key(), 2) }, false,
			[]string{"the lease on 10.1.1.0/24 has expired"}},
		{"expired, and the datapath is broken", func(b *Board) {
			b.SetLease(standing(subnet.Expired, one, "etcd has not answered"))
			b.Incomplete(broken)
		}, false, []string{"the lease on 10.1.1.0/24 has expired: etcd has not answered"}},
		{"held again, before a pass", func(b *Board) {
			b.SetLease(standing(subnet.Expired, one, ""))
			b.SetLease(standing(subnet.Held, one, ""))
		}, false, []string{"the lease on 10.1.1.0/24 has expired"}},
		{"held again", func(b *Board) {
			b.SetLease(standing(subnet.Expired, one, ""))
			b.SetLease(standing(subnet.Held, one, ""))
			b.Complete(one.Key(), 2)
		}, true, []string{"the lease on 10.1.1.0/24 has expired", "10.1.1.0/24 vxlan, 2 peers"}},
		{"another lease, and a pass that began before", func(b *Board) {
			b.SetLease(standing(subnet.Conflict, one, "10.1.1.0/24 is leased to 192.168.1.99 now"))
			b.SetLease(standing(subnet.Rebound, other, ""))
			b.Complete(one.Key(), 2)
		}, false, []string{"lost the lease on 10.1.1.0/24: 10.1.1.0/24 is leased to 192.168.1.99 now"}},
		{"another lease", func(b *Board) {
			b.SetLease(standing(subnet.Conflict, one, "it is gone"))
			b.SetLease(standing(subnet.Rebound, other, ""))
			b.Complete(other.Key(), 0)
		}, true, []string{"lost the lease on 10.1.1.0/24: it is gone", "10.1.2.0/24 vxlan, 0 peers"}},
		{"the end", func(b *Board) { b.Fail(errors.New("listen on udp")); b.Incomplete(broken) }, false, []string{"failed: listen on udp"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var said []string
			b := NewBoard(func(text string) { said = append(said, text) })
			start(b)
			want := append([]string{"waiting for the network configuration", "acquiring a subnet", "10.1.1.0/24 vxlan, 2 peers"}, row.want...)
			row.do(b)
			if d := cmp.Diff(want, said); d != "" {
				t.Errorf("texts (-want +got):\n%s", d)
			}
			if s := b.Status(); s.Ready != row.ready || s.Text != want[len(want)-1] {
				t.Errorf("Status is %+v, want ready: %t, and the last text", s, row.ready)
			}
		})
	}
}

func TestBoardSaysWhyItWaits(t *testing.T) {
	var said []string
	b := NewBoard(func(text string) { said = append(said, text) })
	b.SetUnusable("")
	b.SetUnusable("etcd has none")
	b.SetBackend(config.Config{Type: "udp"})
	b.SetLease(standing(subnet.Acquiring, subnet.Lease{}, "the network is full"))
	want := []string{"waiting for the network configuration", "waiting for the network configuration: etcd has none", "acquiring a subnet: the network is full"}
	if !slices.Equal(said, want) || b.Status().Ready {
		t.Errorf("said %q, want %q; ready: %t", said, want, b.Status().Ready)
	}
}

func TestStatusAsJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, do := range map[string]func(*Board){
		"waiting": func(b *Board) { b.SetUnusable("etcd has none at /coreos.com/network/config") },
		"ready": func(b *Board) {
			start(b)
			l := one
			l.V6.Subnet = netip.MustParsePrefix("fd00:1::/64")
			b.SetLease(subnet.Standing{State: subnet.Held, Lease: l, Deadline: time.Hour})
			b.Complete(l.Key(), 7)
		},
		"peers": func(b *Board) {
			start(b)
			b.Describe("v1.0.0", "/coreos.com/network")
			b.SetPath("kernel")
			b.SetAPI(func() string { return "v3" })
			b.SetUnderlay(backend.Underlay{Name: "eth0", MTU: 1500, V4: netip.MustParseAddr("192.168.1.11")})
			want(b, 2, 3, 4, 5)
			b.Passed(loop.Pass{Peers: 4, MTU: 1450, Device: "flannel.1", Ready: true, Took: 20 * time.Millisecond,
				Changes: map[string]int{"route": 3}, Skipped: []backend.Skip{{Subnet: claim(4).Subnet, Reason: errors.New("its data has no VtepMAC")}},
				Err: &datapath.ApplyError{Total: 4, Failed: []error{&datapath.OpError{Op: datapath.Op{Object: datapath.Route{Dst: claim(3).Subnet}}, Err: unix.ENETUNREACH}}}})
			b.Complete(one.Key(), 4)
			want(b, 2, 3, 4, 5, 6)
			b.journal.traffic = append(b.journal.traffic, Sample{Time: at, RxBytes: 1, TxBytes: 2, RxPackets: 3, TxPackets: 4, Dropped: 5})
			log := slog.New(Record(slog.DiscardHandler, b)).With("subnet", one.Key())
			for range 2 {
				_ = log.Handler().Handle(context.Background(), slog.NewRecord(at, slog.LevelError, "etcd is away", 0))
			}
			asked(b, "leases", nil, time.Millisecond)
		},
		"trouble": func(b *Board) {
			start(b)
			asked(b, "refresh", errors.New("connection refused"), time.Second)
			b.SetEtcdAway(true)
			b.SetTrouble(DockerBridge, "docker0 has 172.17.0.1/16, which is not this host's subnet 10.1.1.0/24")
			b.SetLease(standing(subnet.AtRisk, one, "connection refused"))
			b.Incomplete(errors.New("add route: no buffer space"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBoard(func(string) {})
			b.clock = func() (time.Duration, time.Time) { return time.Minute, at }
			b.now.Started, b.now.PID = at, 1
			do(b)
			now := b.StatusWithPeers(MostPeers)
			got, err := json.MarshalIndent(now, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			var again Status
			if err := json.Unmarshal(got, &again); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(now, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
				t.Errorf("read again (-want +got):\n%s", d)
			}
		})
	}
}

// claim is the peer 10.1.n.0/24 at 192.168.1.n.
func claim(n byte) subnet.Claim {
	return subnet.Claim{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, n, 0}), 24), PublicIP: netip.AddrFrom4([4]byte{192, 168, 1, n})}
}

// want has a board know that a pass is for these peers, and that 10.1.9.0/24 can be none.
func want(b *Board, peers ...byte) {
	var p backend.Plane
	for _, n := range peers {
		p.Peers = append(p.Peers, claim(n))
	}
	b.Want([]backend.Plane{p}, []backend.Fault{{Text: "Ignoring non-vxlan subnet: type=host-gw",
		Attrs: []any{"subnet", subnet.Key{V4: claim(9).Subnet}, "PublicIP", claim(9).PublicIP}}}, len(peers)+2, 0)
}

// TestPathsOfPeers are the kernel's for those that it is said of.
func TestPathsOfPeers(t *testing.T) {
	b := NewBoard(func(string) {})
	start(b)
	b.SetPath("user space")
	want(b, 2, 3, 4)
	b.SetInKernel(func() []netip.Prefix { return []netip.Prefix{claim(3).Subnet, claim(8).Subnet} })
	kernel(b, "full")
	p := b.StatusWithPeers(MostPeers).Peers
	got := fmt.Sprint(p.InKernel)
	for _, one := range p.List {
		got += fmt.Sprintf(", %d %s", one.Subnet.Addr().As4()[2], one.Path)
	}
	if want := "1, 9 , 2 user space, 3 kernel, 4 user space"; got != want {
		t.Errorf("peers are %s, want %s", got, want)
	}
}

func TestPeersStates(t *testing.T) {
	b := NewBoard(func(string) {})
	start(b)
	state := func() (text string) {
		for _, p := range b.StatusWithPeers(MostPeers).Peers.List {
			text += fmt.Sprintf("%d %s, ", p.Subnet.Addr().As4()[2], p.State)
		}
		return text
	}
	refuse := func(o datapath.Object) error {
		return &datapath.ApplyError{Failed: []error{&datapath.OpError{Op: datapath.Op{Object: o}, Err: unix.ENETUNREACH}}}
	}
	for _, row := range []struct {
		name  string
		peers []byte
		pass  loop.Pass
		want  string
	}{
		{"in place", []byte{2, 3}, loop.Pass{}, "9 ignored, 2 programmed, 3 programmed, "},
		{"one cannot be reached", []byte{2, 3}, loop.Pass{Err: refuse(datapath.Route{Dst: claim(3).Subnet})}, "3 failed, 9 ignored, 2 programmed, "},
		{"one has no forwarding entry", []byte{2, 3}, loop.Pass{Err: refuse(datapath.FDBEntry{Dst: claim(3).PublicIP})}, "3 failed, 9 ignored, 2 programmed, "},
		{"one has no neighbour", []byte{2, 3, 4}, loop.Pass{Err: refuse(datapath.Neigh{IP: claim(2).Subnet.Addr()})}, "2 failed, 9 ignored, 3 programmed, 4 programmed, "},
		{"what is no peer's is refused", []byte{2, 3, 5}, loop.Pass{Err: refuse(datapath.Link{Name: "flannel.1"})}, "9 ignored, 2 pending, 5 pending, 3 programmed, "},
		{"and back", []byte{2, 3}, loop.Pass{}, "9 ignored, 2 programmed, 3 programmed, "},
		{"one has gone, and another come while the kernel refuses all", []byte{3, 4}, loop.Pass{Err: errors.New("no buffer space")}, "9 ignored, 4 pending, 3 programmed, "},
		{"all have gone", nil, loop.Pass{}, "9 ignored, "},
	} {
		want(b, row.peers...)
		b.Passed(row.pass)
		if got := state(); got != row.want {
			t.Errorf("%s: the states are %q, want %q", row.name, got, row.want)
		}
	}
	want(b, 2, 3, 4, 5)
	if s := b.StatusWithPeers(2).Peers; len(s.List) != 2 || s.Omitted != 3 || s.Pending != 4 {
		t.Errorf("a list of two has %d and leaves out %d; %d are pending", len(s.List), s.Omitted, s.Pending)
	}
}

// What is remembered is bounded, however much there is to tell.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	b := NewBoard(func(string) {})
	log := slog.New(Record(new(logtest.Buffer).Logger().Handler(), b))
	for n := range 10 * mostEvents {
		log.Warn(fmt.Sprint(n)+strings.Repeat("long ", 1000), "n", n)
		b.SetTrouble(DockerBridge, []string{"", strings.Repeat("x", 1<<20)}[n%2])
	}
	text, err := json.Marshal(b.Status())
	if s := b.Status(); err != nil || len(s.Errors) != mostEvents || len(s.Events) != mostEvents || len(text) > 4*mostEvents*mostText {
		t.Errorf("%d errors and %d events make %d bytes, %v", len(s.Errors), len(s.Events), len(text), err)
	}
}

func TestBoardIsSafeForConcurrentUse(t *testing.T) {
	var said int
	b := NewBoard(func(string) { said++ }) // one call at a time
	start(b)
	var g sync.WaitGroup
	for n := range 10 {
		g.Go(func() {
			for range 100 {
				b.Complete(one.Key(), n)
				b.SetEtcdAway(n%2 == 0)
				_ = b.Status()
			}
		})
	}
	g.Wait()
	if said < 3 {
		t.Errorf("notified %d times", said)
	}
}
