package chaos

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/etcd2"
)

// fleet are hosts of one network in this process, each with connections of its
// own, as so many daemons have.
type fleet struct {
	t       testing.TB
	e       *etcd
	pool    int
	ttl     time.Duration
	leased  chan subnet.Lease
	events  atomic.Int64 // that watches have yielded
	renewed atomic.Int64
	fresh   atomic.Int64 // lists that a watch has asked for
	alive   context.Context
	done    sync.WaitGroup
}

func newFleet(t testing.TB, e *etcd, pool int, life time.Duration) *fleet {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := &fleet{t: t, e: e, pool: pool, ttl: life, leased: make(chan subnet.Lease, pool), alive: ctx}
	t.Cleanup(func() { stop(); f.done.Wait() })
	return f
}

// start starts hosts at once, and returns when all have a lease.
func (f *fleet) start(first, n int, within time.Duration) (leases []subnet.Lease, took time.Duration) {
	f.t.Helper()
	began := time.Now()
	for i := range n {
		f.done.Go(func() { f.host(identity{Number: first + i, Endpoints: f.e.urls, Pool: f.pool}) })
	}
	limit := time.After(within)
	for range n {
		select {
		case l := <-f.leased:
			leases = append(leases, l)
		case <-limit:
			f.t.Fatalf("%d of %d hosts have a lease after %v", len(leases), n, within)
		}
	}
	return leases, time.Since(began)
}

// host takes a lease, holds it and watches those of others. The View has its own
// lease only: a thousand of a thousand leases each would be a million.
func (f *fleet) host(id identity) {
	s, err := etcd2.New(etcd2.Options{Endpoints: id.Endpoints, Prefix: prefix, Timeout: 30 * time.Second, Log: id.log()})
	if err != nil {
		f.t.Error(err)
		return
	}
	got, err := subnet.Acquire(f.alive, s, subnet.Request{Config: config(id.Pool), Lease: id.lease(), TTL: f.ttl}, id.log())
	if err != nil {
		if f.alive.Err() == nil {
			f.t.Error(err)
		}
		return
	}
	f.leased <- got.Lease
	view := subnet.NewView()
	view.Reset(subnet.Snapshot{Leases: []subnet.Lease{got.Lease}, Rev: got.Seen.Rev})
	var watch sync.WaitGroup
	watch.Go(func() { f.watch(s, got.Seen.Rev) })
	err = subnet.Hold(f.alive, s, got.Lease, subnet.Holding{TTL: f.ttl, Sent: got.Sent, View: view, Log: id.log(),
		Renewed: func(subnet.Standing) { f.renewed.Add(1) }})
	if err != nil {
		f.t.Errorf("host %d: %v", id.Number, err)
	}
	watch.Wait()
}

// watch is what subnet.Follow does, without keeping anything.
func (f *fleet) watch(s *etcd2.Store, from subnet.Revision) {
	for f.alive.Err() == nil {
		for _, err := range s.Watch(f.alive, from) {
			switch {
			case err == nil:
				f.events.Add(1)
			case errors.Is(err, subnet.ErrCompacted):
				f.fresh.Add(1)
			case f.alive.Err() == nil:
				f.t.Logf("watch: %v", err)
			}
		}
		if _, rev, err := s.Leases(f.alive); err == nil {
			from = rev
		}
	}
}

// distinct fails the test if two leases share addresses.
func distinct(t testing.TB, leases []subnet.Lease) {
	t.Helper()
	all := make(map[netip.Prefix]netip.Addr)
	for _, l := range leases {
		if other, ok := all[l.V4.Subnet]; ok {
			t.Errorf("%s is leased to %s and to %s", l.V4.Subnet, other, l.V4.PublicIP)
		}
		all[l.V4.Subnet] = l.V4.PublicIP
	}
}

func TestAHundredHostsShareAHundredSubnets(t *testing.T) {
	f := newFleet(t, newEtcd(t, 3), 100, subnet.DefaultTTL)
	leases, took := f.start(1, 100, time.Minute)
	distinct(t, leases)
	t.Logf("100 hosts have the 100 subnets of their network after %v", took.Round(time.Millisecond))
}

func TestAThousandHosts(t *testing.T) {
	e := newEtcd(t, 1)
	const n = 1000
	const life = 12 * time.Minute // renewed every 30 s, which a day's lease is every hour
	f := newFleet(t, e, 1<<14, life)
	before, cpuBefore := rss(t, e.proc(0).Pid()), e.cpu()
	leases, took := f.start(1, n, time.Minute)
	distinct(t, leases)
	t.Logf("all have a lease after %v; the store has used %v of a processor", took.Round(time.Millisecond), e.cpu()-cpuBefore)
	if took > 5*time.Second {
		t.Errorf("they took %v, want 5 s at most", took)
	}

	// The last of the events of the start.
	for last := int64(-1); f.events.Load() != last; time.Sleep(time.Second) {
		last = f.events.Load()
	}
	memory := rss(t, e.proc(0).Pid()) - before
	t.Logf("the store has %d KiB per host with its lease and watch, after %d events and %d new lists",
		memory/n/1024, f.events.Load(), f.fresh.Load())

	f.events.Store(0)
	f.renewed.Store(0)
	began := time.Now()
	used := -e.cpu()
	time.Sleep(33 * time.Second)
	used += e.cpu()
	length, renewed := time.Since(began), f.renewed.Load()
	if got := f.events.Load(); got != 0 {
		t.Errorf("%d watches were woken", got)
	}
	if renewed < n {
		t.Errorf("%d renewals in %v, want %d: the run has shown nothing", renewed, length, n)
	}
	// All that the store did meanwhile counts, though it also is its own clock.
	each := used / time.Duration(renewed)
	hourly := 100 * float64(each*n) / float64(time.Hour)
	t.Logf("%d renewals used %v of a processor, %v each; at one per host and hour that is %.4f %% of a core", renewed, used, each, hourly)
	if hourly >= 0.1 {
		t.Errorf("renewals use %.4f %% of a core, want less than 0.1 %%", hourly)
	}
}
