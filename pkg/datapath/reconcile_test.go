package datapath_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/datapath"
	"flanneld/pkg/datapath/fake"
	"flanneld/pkg/netlab/labtest"
)

// apply reconciles and fails the test if that does.
func apply(t *testing.T, r *datapath.Reconciler, want datapath.State) int {
	t.Helper()
	n, err := r.Apply(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestApplyRestoresWhatARemadeLinkLost(t *testing.T) {
	labtest.Native(t)
	r := onFake()
	apply(t, r, tunnel())
	want := with(func(s *datapath.State) { s.Links[0].VXLAN.Port = 4789 })
	apply(t, r, want)
	if n := apply(t, r, want); n != 0 {
		t.Errorf("second Apply took %d operations, want none", n)
	}
}

func TestApplyRestoresARemadeLinkBesideADeletedOne(t *testing.T) {
	labtest.Native(t)
	r := onFake()
	apply(t, r, with(func(s *datapath.State) {
		old := vxlan("old.7")
		old.VXLAN.VNI = 7
		s.Links = append(s.Links, old)
	}))
	want := with(func(s *datapath.State) { s.Links[0].VXLAN.Port = 4789 })
	apply(t, r, want)
	if n := apply(t, r, want); n != 0 {
		t.Errorf("second Apply took %d operations, want none", n)
	}
}

// What is there of others stays, but for a route that drops packets.
func TestApplyKeepsWhatMayBeWanted(t *testing.T) {
	labtest.Native(t)
	r := onFake()
	all, one := tunnel(), with(func(s *datapath.State) { s.Routes, s.Neighs, s.FDB = nil, nil, nil })
	drop := datapath.Route{Dst: prefix("10.5.0.0/16"), Type: datapath.Blackhole, Metric: 65535, Protocol: 77}
	apply(t, r, with(func(s *datapath.State) { s.Routes = append(s.Routes, drop) }))
	r.Keep = true
	if n := apply(t, r, one); n != 1 {
		t.Errorf("%d operations, want one: the deletion of %v", n, drop)
	}
	r.Keep = false
	if n := apply(t, r, all); n != 0 {
		t.Errorf("%d operations to have all, want none", n)
	}
	r.Keep, r.Never = true, []netip.Prefix{prefix("10.5.2.7/32")}
	if n := apply(t, r, one); n != 1 {
		t.Errorf("%d operations, want one: the deletion of a route to what is reached otherwise", n)
	}
	r.Keep, r.Never = false, nil
	apply(t, r, all)
	if n := apply(t, r, one); n != 3 {
		t.Errorf("%d operations, want the deletions of a route, a neighbour and an entry", n)
	}
}

func TestApplyWarnsOnceOfAnothersRouteWithinASubnet(t *testing.T) {
	labtest.Native(t)
	r := onFake()
	var log bytes.Buffer
	r.Log = slog.New(slog.NewTextHandler(&log, nil))
	within := via("10.5.2.128/25", "192.0.2.9")
	within.Protocol = 3
	apply(t, r, tunnel())
	if log.Len() > 0 {
		t.Errorf("log is %s", &log)
	}
	if err := r.Kernel.Do(t.Context(), []datapath.Op{{Verb: datapath.Set, Object: within}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n := apply(t, r, tunnel()); n != 0 {
			t.Errorf("%d operations, want none", n)
		}
	}
	if strings.Count(log.String(), "WARN") != 1 || !strings.Contains(log.String(), "routes=10.5.2.128/25") {
		t.Errorf("log is %s", &log)
	}
}

func TestApplyErrorNamesTheFirstFailures(t *testing.T) {
	labtest.Native(t)
	r := onFake()
	var want datapath.State
	for _, dst := range []string{"10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24", "10.5.4.0/24", "10.5.5.0/24"} {
		want.Routes = append(want.Routes, via(dst, "203.0.113.1"))
	}
	want.Routes = append(want.Routes, via("10.5.6.0/24", "192.0.2.6"))
	n, err := r.Apply(t.Context(), want)
	var failed *datapath.ApplyError
	if n != 6 || !errors.As(err, &failed) || failed.Total != 6 || len(failed.Failed) != 5 {
		t.Fatalf("Apply: %d, %v", n, err)
	}
	const begin = "5 of 6 operations failed; ip route replace 10.5.1.0/24 via 203.0.113.1 dev eth0 proto 77: "
	if s := err.Error(); !strings.HasPrefix(s, begin) || !strings.HasSuffix(s, "; and 2 more") || strings.Contains(s, "10.5.4.0") {
		t.Errorf("error is %q", s)
	}
	if !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("error does not wrap the errno: %v", err)
	}
}

func TestOnlyRoutes(t *testing.T) {
	route := &datapath.OpError{Op: datapath.Op{Object: via("10.5.1.0/24", "192.0.2.1")}, Err: unix.ENETUNREACH}
	refused := &datapath.OpError{Op: route.Op, Err: unix.EPERM}
	neigh := &datapath.OpError{Op: datapath.Op{Object: tunnel().Neighs[0]}, Err: unix.ENODEV}
	tests := map[string]struct {
		err    error
		wanted int
		want   bool
	}{
		"no error":             {nil, 2, false},
		"one of two routes":    {&datapath.ApplyError{Total: 2, Failed: []error{route}}, 2, true},
		"the only gateways":    {&datapath.ApplyError{Total: 2, Failed: []error{route, route}}, 2, true},
		"both routes":          {&datapath.ApplyError{Total: 2, Failed: []error{refused, refused}}, 2, false},
		"one of each":          {&datapath.ApplyError{Total: 2, Failed: []error{refused, route}}, 2, true},
		"a route and an entry": {&datapath.ApplyError{Total: 3, Failed: []error{route, neigh}}, 5, false},
		"what was not tried":   {&datapath.ApplyError{Total: 3, Failed: []error{unix.ENOBUFS}}, 5, false},
		"some other error":     {unix.EPERM, 5, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := datapath.OnlyRoutes(test.err, test.wanted); got != test.want {
				t.Errorf("OnlyRoutes(%v, %d) = %t", test.err, test.wanted, got)
			}
		})
	}
}

func TestApplyLogsCommandsAtDebug(t *testing.T) {
	labtest.Native(t)
	var b bytes.Buffer
	r := onFake()
	r.Log = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	apply(t, r, datapath.State{Routes: []datapath.Route{via("10.5.2.0/24", "192.0.2.2")}})
	if !strings.Contains(b.String(), "ip route replace 10.5.2.0/24 via 192.0.2.2 dev eth0 proto 77") {
		t.Errorf("log is %q", b.String())
	}
}

func TestApplyStopsWhenContextEnds(t *testing.T) {
	labtest.Native(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := onFake()
	if _, err := r.Apply(ctx, tunnel()); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want context.Canceled", err)
	}
	if s := r.Kernel.(*fake.Kernel).String(); strings.Contains(s, "vx.1") {
		t.Errorf("state is\n%s", s)
	}
}

func TestParseMAC(t *testing.T) {
	for s, want := range map[string]string{
		"0A:00:00:00:00:02":       "0a:00:00:00:00:02",
		"0a-00-00-00-00-02":       "0a:00:00:00:00:02",
		"":                        "",
		"0a:00:00:00:00":          "",
		"0a:00:00:00:00:00:00:02": "", // EUI-64
	} {
		m, err := datapath.ParseMAC(s)
		if want == "" && err == nil || want != "" && (err != nil || m.String() != want) {
			t.Errorf("ParseMAC(%q) = %s, %v; want %q", s, m, err, want)
		}
	}
	for m, want := range map[datapath.MAC]bool{{}: false, mac(1): true, {1}: false, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}: false} {
		if m.Unicast() != want {
			t.Errorf("%s.Unicast() = %t", m, !want)
		}
	}
}
