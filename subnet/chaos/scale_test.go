package chaos

import (
	"context"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
)

// fleet are hosts of one network in this process, each with connections of its
// own, as so many daemons have.
type fleet struct {
	t       testing.TB
	e       *etcd
	pool    int
	ttl     time.Duration
	v3      bool // it is etcd's v3 API
	leased  chan subnet.Lease
	events  atomic.Int64 // that watches have yielded
	renewed atomic.Int64
	lists   atomic.Int64
	follow  chan struct{} // closed when hosts follow each other
	mu      sync.Mutex
	views   []*subnet.View // of the hosts that have a lease
	alive   context.Context
	done    sync.WaitGroup
}

func newFleet(t testing.TB, e *etcd, pool int, life time.Duration) *fleet {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := &fleet{t: t, e: e, pool: pool, ttl: life, leased: make(chan subnet.Lease, pool), follow: make(chan struct{}), alive: ctx}
	t.Cleanup(func() { stop(); f.done.Wait() })
	return f
}

// start starts hosts at once, and returns when all have a lease.
func (f *fleet) start(first, n int, within time.Duration) (leases []subnet.Lease, took time.Duration) {
	f.t.Helper()
	began := time.Now()
	for i := range n {
		f.done.Go(func() { f.host(identity{Number: first + i, Endpoints: f.e.urls, Pool: f.pool, V3: f.v3}) })
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

// host takes a lease, holds it and follows those of others.
func (f *fleet) host(id identity) {
	store := f.store(id)
	got, err := subnet.Acquire(f.alive, store, subnet.Request{Config: network(id.Pool), Lease: id.lease(), TTL: f.ttl}, id.log())
	if err != nil {
		if f.alive.Err() == nil {
			f.t.Error(err)
		}
		return
	}
	view := subnet.NewView()
	view.Reset(got.Seen)
	f.mu.Lock()
	f.views = append(f.views, view)
	f.mu.Unlock()
	f.leased <- got.Lease
	var follow sync.WaitGroup
	follow.Go(func() {
		select {
		case <-f.alive.Done():
			return
		case <-f.follow:
		}
		_ = subnet.Follow(f.alive, store, view, got.Seen.Rev, id.log())
	})
	sent := got.Sent
	err = subnet.Hold(f.alive, store, got.Lease, subnet.Holding{TTL: f.ttl, Sent: got.Sent, View: view, Log: id.log(),
		Report: func(s subnet.Standing) {
			if s.Sent != sent {
				f.renewed.Add(1)
			}
			sent = s.Sent
		}})
	if err != nil {
		f.t.Errorf("host %d: %v", id.Number, err)
	}
	follow.Wait()
}

// unaware is how many hosts do not know of n leases.
func (f *fleet) unaware(n int) (hosts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.views {
		if len(v.Leases()) < n {
			hosts++
		}
	}
	return hosts
}

func (f *fleet) store(id identity) subnet.Store {
	s, done, err := id.dial(30 * time.Second)
	if err != nil {
		panic(err) // the options are ours
	}
	context.AfterFunc(f.alive, done)
	return counted{s, f}
}

// counted counts what a host is told.
type counted struct {
	subnet.Store
	f *fleet
}

func (c counted) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		for e, err := range c.Store.Watch(ctx, after) {
			if err == nil {
				c.f.events.Add(1)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (c counted) Leases(ctx context.Context) ([]subnet.Lease, subnet.Revision, error) {
	c.f.lists.Add(1)
	return c.Store.Leases(ctx)
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
	close(f.follow)
	leases, took := f.start(1, 100, time.Minute)
	distinct(t, leases)
	t.Logf("100 hosts have the 100 subnets of their network after %v", took.Round(time.Millisecond))
}

func TestAThousandHosts(t *testing.T) { aThousandHosts(t, false) }

// The figures of etcd's v3 API. They take some minutes of two cores, and what they are made
// of is held to in shorter ways: a refresh's requests and that it wakes nobody.
func TestAThousandHostsOnV3(t *testing.T) {
	if os.Getenv("CHAOSFIGURES") == "" {
		t.Skip("CHAOSFIGURES is not set")
	}
	aThousandHosts(t, true)
}

func aThousandHosts(t *testing.T, v3 bool) {
	e := newEtcd(t, 1)
	const n = 1000
	const life = 12 * time.Minute // renewed every 30 s, which a day's lease is every hour
	f := newFleet(t, e, 1<<14, life)
	f.v3 = v3
	before, cpuBefore := rss(t, e.proc(0).Pid()), e.cpu()
	leases, took := f.start(1, n, 3*time.Minute)
	distinct(t, leases)
	t.Logf("all have a lease after %v; the store has used %v of a processor", took.Round(time.Millisecond), e.cpu()-cpuBefore)
	// The hosts share this machine with the store, and both with whatever else runs
	// here: the time says little, but the store's processor time does.
	if used := e.cpu() - cpuBefore; used > 10*time.Second {
		t.Errorf("the store used %v of a processor, want 10 s at most", used)
	}

	// They follow each other only now: what a thousand daemons do on a thousand
	// hosts would be the work of one here. The events of the start are waited for. Lists
	// go on: so many renewals are more than etcd remembers.
	used := -e.cpu()
	close(f.follow)
	// All must have caught up, or that would be measured in place of renewals.
	limit := time.Now().Add(10 * time.Minute)
	for last := int64(-1); f.events.Load() != last || f.unaware(n) > 0; time.Sleep(3 * time.Second) {
		if time.Now().After(limit) {
			t.Fatalf("%d hosts do not know of all after 10 minutes", f.unaware(n))
		}
		last = f.events.Load()
	}
	t.Logf("to follow each other took the store %v of a processor", used+e.cpu())
	memory := rss(t, e.proc(0).Pid()) - before
	t.Logf("the store has %d KiB per host with its lease and watch, after %d events and %d lists",
		memory/n/1024, f.events.Load(), f.lists.Load())

	f.events.Store(0)
	f.renewed.Store(0)
	began := time.Now()
	marks := []renewalMark{{0, e.cpu()}}
	for f.renewed.Load() < n && time.Since(began) < 3*time.Minute {
		time.Sleep(time.Second)
		marks = append(marks, renewalMark{f.renewed.Load(), e.cpu()})
	}
	length, renewed := time.Since(began), f.renewed.Load()
	if got := f.events.Load(); got != 0 {
		t.Errorf("%d watches were woken", got)
	}
	if renewed < n {
		t.Fatalf("%d renewals in %v, want %d: the run has shown nothing", renewed, length, n)
	}
	// All that the store did meanwhile counts, though it also is its own clock.
	all, each := cheapest(marks, renewed), cheapest(marks, n/4)
	hourly := func(each time.Duration) float64 { return 100 * float64(each*n) / float64(time.Hour) }
	t.Logf("%d renewals used %v of a processor each; at one per host and hour that is %.4f %% of a core, and %.4f %% by the cheapest quarter",
		renewed, all, hourly(all), hourly(each))
	if hourly(each) >= 0.1 {
		t.Errorf("renewals use %.4f %% of a core, want less than 0.1 %%", hourly(each))
	}
}

// What hosts cost that do nothing but watch: their connections are looked at, and their
// watches asked whether they are there.
func TestAThousandHostsThatWait(t *testing.T) {
	if os.Getenv("CHAOSFIGURES") == "" {
		t.Skip("CHAOSFIGURES is not set")
	}
	for _, v3 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v3 %t", v3), func(t *testing.T) {
			e := newEtcd(t, 1)
			const n = 1000
			f := newFleet(t, e, 1<<14, subnet.DefaultTTL)
			f.v3 = v3
			before := rss(t, os.Getpid())
			f.start(1, n, 3*time.Minute)
			close(f.follow)
			for last := int64(-1); f.events.Load() != last || f.unaware(n) > 0; time.Sleep(3 * time.Second) {
				last = f.events.Load()
			}
			time.Sleep(10 * time.Second)
			const length = time.Minute
			used, ours := -e.cpu(), -cpu(t, os.Getpid())
			time.Sleep(length)
			used, ours = used+e.cpu(), ours+cpu(t, os.Getpid())
			runtime.GC()
			debug.FreeOSMemory()
			t.Logf("the store used %.2f %% of a core, and the hosts together %.2f %%; the store has %d MiB, and a host %d KiB, of them in use %d KiB",
				100*used.Seconds()/length.Seconds(), 100*ours.Seconds()/length.Seconds(), rss(t, e.proc(0).Pid())>>20, (rss(t, os.Getpid())-before)/n/1024, heap()/n/1024)
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// renewalMark is what the renewals up to a moment have used of a processor.
type renewalMark struct {
	renewed int64
	used    time.Duration
}

// cheapest returns what a renewal costs in the cheapest row of at least so many: whatever
// else the machine does makes them dearer and never cheaper.
func cheapest(marks []renewalMark, row int64) time.Duration {
	best := time.Duration(math.MaxInt64)
	for i, from := range marks {
		for _, to := range marks[i+1:] {
			if renewed := to.renewed - from.renewed; renewed >= row {
				best = min(best, (to.used-from.used)/time.Duration(renewed))
			}
		}
	}
	return best
}
