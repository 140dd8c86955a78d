package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/mirror"
	etcdproc "flanneld/subnet/storetest/etcd"
)

const (
	prefix   = "/coreos.com/network"
	document = `{"Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}`
)

// real is both keyspaces of one etcd.
type real struct {
	*testing.T
	proc   *etcdproc.Proc
	v2     *etcd2.Store
	v3     *etcd3.Store
	byHand *clientv3.Client
}

func newReal(t *testing.T) *real {
	r := &real{T: t, proc: etcdproc.StartProc(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if r.v2, err = etcd2.New(etcd2.Options{Endpoints: []string{r.proc.URL}, Prefix: prefix, Log: log}); err != nil {
		t.Fatal(err)
	}
	if r.v3, err = etcd3.New(etcd3.Options{Endpoints: []string{r.proc.URL}, Prefix: prefix, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.v3.Close)
	if r.byHand, err = clientv3.New(clientv3.Config{Endpoints: []string{r.proc.URL}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.byHand.Close() })
	return r
}

func (r *real) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// begin runs a mirror until the returned function is called.
func (r *real) begin() (end func() mirror.Report) {
	m := mirror.New(mirror.Options{From: mirror.Side{Name: "v2", Store: r.v2}, To: mirror.Side{Name: "v3", Store: r.v3},
		Log: slog.New(slog.NewTextHandler(r.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	return func() mirror.Report {
		cancel()
		if err := <-ended; err != nil {
			r.Error(err)
		}
		return m.Report()
	}
}

// has waits until a store has a lease, with a mark.
func (r *real) has(s subnet.Store, want subnet.Lease, mark string) (now subnet.Lease) {
	r.Helper()
	want.Mirror = mark
	r.eventually(func() error {
		leases, _, err := s.Leases(r.Context())
		if i := slices.IndexFunc(leases, func(l subnet.Lease) bool { return l.Key() == want.Key() }); i >= 0 {
			now = leases[i]
		} else if now = (subnet.Lease{}); want.V4.PublicIP.IsValid() {
			return fmt.Errorf("%T has no %s: %w", s, want.Key(), err)
		}
		if !now.Same(want) && want.V4.PublicIP.IsValid() || now.V4.Subnet.IsValid() && !want.V4.PublicIP.IsValid() {
			return fmt.Errorf("%T has %+v, want %+v", s, now, want)
		}
		return err
	})
	return now
}

func (r *real) eventually(f func() error) {
	r.Helper()
	var err error
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	r.Fatal(err)
}

// grant returns the etcd lease of a key.
func (r *real) grant(name string) clientv3.LeaseID {
	g, err := r.byHand.Get(r.Context(), prefix+"/subnets/"+name)
	if err != nil || len(g.Kvs) != 1 {
		r.Fatalf("%s: %v, %v", name, g, err)
	}
	return clientv3.LeaseID(g.Kvs[0].Lease)
}

func lease(p, ip, node, mac string) subnet.Lease {
	return subnet.Lease{V4: subnet.Claim{Subnet: netip.MustParsePrefix(p), PublicIP: netip.MustParseAddr(ip), Data: `{"VtepMAC":"` + mac + `"}`},
		Type: "vxlan", Node: node}
}

// Two hosts lie in v2; one moves to v3 and back, etcd is restarted and v2 wiped.
func TestMirrorOnEtcd(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	one, two := lease("10.5.1.0/24", "192.0.2.1", "n1", "01"), lease("10.5.2.0/24", "192.0.2.2", "", "02")
	reserved := lease("10.5.3.0/24", "192.0.2.3", "n3", "03")
	r.check(r.v2.WriteConfig(t.Context(), config.Document{}, []byte(document)))
	for l, ttl := range map[subnet.Lease]time.Duration{one: subnet.DefaultTTL, two: 3 * time.Hour, reserved: 0} {
		_, err := r.v2.Create(t.Context(), l, ttl)
		r.check(err)
	}
	end := r.begin()
	r.has(r.v3, one, "v2")
	r.has(r.v3, two, "v2")
	if now := r.has(r.v3, reserved, "v2"); !now.Reserved() || r.grant("10.5.3.0-24") != 0 {
		t.Errorf("the copy of a reservation is %+v", now)
	}
	copied := r.grant("10.5.1.0-24")
	if at, err := r.v3.Expiry(t.Context(), r.has(r.v3, two, "v2")); err != nil || time.Until(at) < 23*time.Hour {
		t.Errorf("Expiry = %s, %v", at, err)
	}

	// The host takes its copy over, as the daemon does.
	_, _, err := r.v2.Refresh(t.Context(), one, subnet.DefaultTTL) // its last one, which no watch tells of
	r.check(err)
	cfg, _, err := config.Parse([]byte(document))
	r.check(err)
	moved := one
	moved.V4.Data = `{"VtepMAC":"99"}`
	wanted := moved
	wanted.V4.Subnet = netip.Prefix{}
	host, err := etcd3.New(etcd3.Options{Endpoints: []string{r.proc.URL}, Prefix: prefix, Log: slog.New(slog.DiscardHandler)})
	r.check(err)
	t.Cleanup(host.Close)
	began := time.Now()
	got, err := subnet.Acquire(t.Context(), host, subnet.Request{Config: cfg, Lease: wanted, Known: true}, slog.New(slog.DiscardHandler))
	if err != nil || got.Lease.Key() != one.Key() || time.Since(began) > 2*time.Second {
		t.Errorf("Acquire = %+v, %v after %s", got.Lease, err, time.Since(began))
	}
	r.has(r.v3, moved, "")
	if now := r.has(r.v2, moved, "v3"); time.Until(now.Expires) < 23*time.Hour {
		t.Errorf("what the host left is %+v", now)
	}
	if r.grant("10.5.1.0-24") == copied {
		t.Error("the host has the mirror's etcd lease")
	}

	// Etcd is killed; a new host comes meanwhile, as far as the mirror can see.
	r.proc.Kill()
	r.proc, err = r.proc.Again(context.Background())
	r.check(err)
	t.Cleanup(r.proc.Stop)
	four := lease("10.5.4.0/24", "192.0.2.4", "n4", "04")
	r.eventually(func() error { _, err := r.v3.Create(t.Context(), four, subnet.DefaultTTL); return err })
	r.has(r.v2, four, "v3")
	gone := four
	gone.V4.PublicIP = netip.Addr{}
	r.check(r.v3.Delete(t.Context(), r.has(r.v3, four, "")))
	r.has(r.v2, gone, "")

	// v2 is wiped: its copies in v3 stay, and those of v3 come again.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, r.proc.URL+"/v2/keys"+prefix+"/subnets?recursive=true", nil)
	r.check(err)
	answer, err := http.DefaultClient.Do(request)
	r.check(err)
	_ = answer.Body.Close()
	r.has(r.v2, moved, "v3")
	time.Sleep(3 * time.Second) // nothing is to happen
	r.has(r.v3, two, "v2")
	r.has(r.v3, reserved, "v2")
	report := end()
	if v2, v3 := report.Sides[0], report.Sides[1]; len(v2.Hosts) != 0 || v2.Copies != 1 || len(v3.Hosts) != 1 || v3.Left != 2 || len(report.Problems) != 0 {
		t.Errorf("report: %+v", report)
	}

	// Another mirror knows its predecessor's copies, and keeps them alive.
	before := r.grant("10.5.2.0-24")
	end = r.begin()
	_, err = r.v2.Create(t.Context(), two, subnet.DefaultTTL)
	r.check(err)
	r.eventually(func() error {
		l, err := r.byHand.TimeToLive(t.Context(), before)
		if err == nil && l.TTL < int64(subnet.DefaultTTL/time.Second)-2 {
			err = fmt.Errorf("%d s are left", l.TTL)
		}
		return err
	})
	if now := r.grant("10.5.2.0-24"); now != before {
		t.Errorf("another etcd lease was made: %x, %x", before, now)
	}
	if report := end(); report.Sides[1].Left != 1 || report.Sides[1].Copies != 1 {
		t.Errorf("report: %+v", report)
	}
}

func TestWriteConfigOverwritesNobody(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	for _, s := range []mirror.Store{r.v2, r.v3} {
		ctx := t.Context()
		none, err := s.Config(ctx)
		if !errors.Is(err, config.ErrNone) {
			t.Fatalf("Config = %v", err)
		}
		r.check(s.WriteConfig(ctx, none, []byte("1")))
		first, err := s.Config(ctx)
		r.check(err)
		if err := s.WriteConfig(ctx, none, []byte("2")); !errors.Is(err, subnet.ErrLost) {
			t.Errorf("%T: over one that was not known: %v", s, err)
		}
		r.check(s.WriteConfig(ctx, first, []byte("3")))
		if err := s.WriteConfig(ctx, first, []byte("4")); !errors.Is(err, subnet.ErrLost) {
			t.Errorf("%T: over one that has changed: %v", s, err)
		}
		second, err := s.Config(ctx)
		if err != nil || string(second.Raw) != "3" {
			t.Errorf("%T has %q, %v", s, second.Raw, err)
		}
		r.check(s.WriteConfig(ctx, second, nil))
		empty, err := s.Config(ctx)
		r.check(err)
		if r.check(s.WriteConfig(ctx, empty, []byte("5"))); err != nil || empty.Raw == nil {
			t.Errorf("%T: over one that is empty: %#v, %v", s, empty.Raw, err)
		}
	}
}

func TestCarryOnEtcd(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	one, two, three := lease("10.5.1.0/24", "192.0.2.1", "n1", "01"), lease("10.5.2.0/24", "192.0.2.2", "", "02"), lease("10.5.3.0/24", "192.0.2.3", "n3", "03")
	sides := map[bool]mirror.Side{false: {Name: "v2", Store: r.v2}, true: {Name: "v3", Store: r.v3}}
	for _, back := range []bool{false, true} {
		from, to := sides[back], sides[!back]
		r.check(from.Store.WriteConfig(t.Context(), config.Document{}, []byte(document)))
		for l, ttl := range map[subnet.Lease]time.Duration{one: 5 * time.Hour, two: 10 * time.Minute, three: 0} {
			_, err := from.Store.Create(t.Context(), l, ttl)
			r.check(err)
		}
		p, err := mirror.Survey(t.Context(), from, to, false)
		r.check(err)
		if n, err := p.Carry(t.Context()); n != 3 || err != nil {
			t.Errorf("Carry = %d, %v", n, err)
		}
		for l, want := range map[subnet.Lease]time.Duration{one: 5 * time.Hour, two: mirror.LeastTTL, three: 0} {
			now := r.has(to.Store, l, from.Name)
			at := now.Expires
			if !back {
				at, err = r.v3.Expiry(t.Context(), now)
				r.check(err)
			}
			if left := time.Until(at); want == 0 && !at.IsZero() || want != 0 && (left > want+time.Second || left < want-time.Minute) {
				t.Errorf("%s in %s lives for %s, want %s", l.Key(), to.Name, left, want)
			}
		}
		_, err = r.byHand.Delete(t.Context(), prefix, clientv3.WithPrefix())
		r.check(err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, r.proc.URL+"/v2/keys"+prefix+"?recursive=true", nil)
		r.check(err)
		answer, err := http.DefaultClient.Do(request)
		r.check(err)
		_ = answer.Body.Close()
	}
}
