//go:build soak

package loop_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"flanneld/backend"
	"flanneld/backend/loop"
	"flanneld/pkg/datapath"
	realkernel "flanneld/pkg/datapath/kernel"
	"flanneld/pkg/netlab"
	"flanneld/pkg/systemd"
	"flanneld/pkg/wake"
	"flanneld/subnet"
)

// within is the kernel in a namespace.
type within struct {
	realkernel.Kernel
	netlab.Namespace
}

func (w within) Read(ctx context.Context, s datapath.Scope) (have datapath.State, err error) {
	err = w.Enter(func() error { have, err = w.Kernel.Read(ctx, s); return err })
	return have, err
}

func (w within) Do(ctx context.Context, ops []datapath.Op) (err error) {
	if entered := w.Enter(func() error { err = w.Kernel.Do(ctx, ops); return nil }); entered != nil {
		return entered
	}
	return err // as it is: its parts are looked at
}

func (w within) Watch(ctx context.Context, _ datapath.Scope, _ string, _ chan<- struct{}) error {
	<-ctx.Done()
	return nil
}

// crowd is the backend of a host with many peers on a vxlan device, and a firewall that
// lets all in.
type crowd struct{ backend.Backend }

func (crowd) MTU() int { return 1450 }

func (crowd) InPlace() bool { return true }

func (crowd) Admit(context.Context, []backend.Plane, []backend.Ingress) error { return nil }

func (crowd) Plan(_ context.Context, planes []backend.Plane) (backend.Plan, error) {
	var s datapath.State
	const device = "vx.1"
	s.Links = []datapath.Link{{Name: device, Kind: "vxlan", Alias: "ours", Up: true, MTU: 1450, MAC: datapath.MAC{0x0a, 0, 0, 0, 0, 1},
		VXLAN: datapath.VXLAN{VNI: 1, Parent: "eth0", Local: netip.MustParseAddr("192.0.2.1"), Port: 8472}}}
	for _, peer := range planes[0].Peers {
		gateway := peer.Subnet.Addr()
		a := gateway.As4()
		mac := datapath.MAC{0x0a, 1, a[0], a[1], a[2], a[3]}
		s.FDB = append(s.FDB, datapath.FDBEntry{Link: device, MAC: mac, Dst: peer.PublicIP})
		s.Neighs = append(s.Neighs, datapath.Neigh{Link: device, IP: gateway, MAC: mac})
		s.Routes = append(s.Routes, datapath.Route{Dst: peer.Subnet, Gateway: gateway, Link: device, OnLink: true, Protocol: 77})
	}
	return backend.Plan{State: s, Ingress: make([]backend.Ingress, 1)}, nil
}

func crowded(n int) []backend.Plane {
	p := backend.Plane{Network: netip.MustParsePrefix("10.0.0.0/8")}
	address := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))) }
	for i := range uint32(n) {
		p.Peers = append(p.Peers, subnet.Claim{Subnet: netip.PrefixFrom(address(10<<24+i*128), 25), PublicIP: address(192<<24 + 1<<16 + i)})
	}
	return []backend.Plane{p}
}

// TestSoakManyPeers makes a pass that takes several times as long as the watchdog waits:
//
//	go test -tags soak -run TestSoakManyPeers -v ./backend/loop
func TestSoakManyPeers(t *testing.T) {
	const peers, interval = 50000, 8 * time.Second
	lab, err := netlab.New()
	if err != nil {
		t.Skip("needs root to make network namespaces: ", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	host, err := lab.Host("h1", "192.0.2.1/8")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(interval.Microseconds(), 10))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	probe := systemd.NewProbe("has many peers")
	watched := make(chan time.Duration)
	go func() {
		fed, longest := time.Now(), time.Duration(0)
		err := systemd.FeedWatchdog(ctx, []func(context.Context) error{probe.Alive}, func() {
			longest, fed = max(longest, time.Since(fed)), time.Now()
		}, slog.Default())
		if err != nil {
			t.Error(err)
		}
		watched <- max(longest, time.Since(fed))
	}()
	planes := crowded(peers)
	begin := time.Now()
	l := loop.Loop{
		Planes: func() ([]backend.Plane, []backend.Fault) { return planes, nil },
		Wake:   wake.New(), Kernel: within{Namespace: host.Namespace}, Firewall: crowd{}, Alive: probe.Ask, Progress: probe.Step, Log: slog.Default(),
		Scope: datapath.Scope{Owner: "ours", Networks: []netip.Prefix{planes[0].Network}, Protocol: 77},
	}
	l.Done = func(p loop.Pass) error {
		if p.Err != nil || p.Peers != peers {
			t.Errorf("%d peers, %v", p.Peers, p.Err)
		}
		cancel()
		return nil
	}
	if err := l.Run(ctx, crowd{}, backend.Underlay{Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	took, longest := time.Since(begin), <-watched
	t.Logf("a pass of %s; the watchdog waited for %s at most", took, longest)
	if longest >= interval || took < 2*interval {
		t.Errorf("the watchdog waited for %s of %s in a pass of %s", longest, interval, took)
	}
}
