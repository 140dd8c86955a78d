package subnet

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/subnet/config"
)

const me = "192.0.2.1"

func rangeOf(network string, length int, least, most string) config.Range {
	return config.Range{Network: netip.MustParsePrefix(network), SubnetLen: length,
		Min: netip.MustParseAddr(least), Max: netip.MustParseAddr(most)}
}

func request(previous string) Request {
	r := Request{Config: config.Config{V4: rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.60.0"), Type: "vxlan"}}
	r.Lease.Type = "vxlan"
	r.Lease.V4 = Claim{PublicIP: netip.MustParseAddr(me), Data: quoted("new")}
	if previous != "" {
		r.Previous = key(previous)
	}
	return r
}

// acquire is Acquire with its results apart.
func acquire(ctx context.Context, store Store, r Request, log *slog.Logger) (Lease, Snapshot, error) {
	got, err := Acquire(ctx, store, r, log)
	return got.Lease, got.Seen, err
}

func dual(l Lease, p6 string) Lease {
	l.V6.Subnet = netip.MustParsePrefix(p6)
	return l
}

func TestDecide(t *testing.T) {
	other, reserved := "192.0.2.9", lease("10.1.7.0/24", me, "old")
	reserved.Expires = time.Time{}
	unfit := lease("10.1.8.0/25", me)
	unfit.Expires = time.Time{}
	for _, tt := range []struct {
		name     string
		leases   []Lease
		junk     []Lease
		previous string
		avoid    string
		v6       bool
		want     action
		key      Key // zero: any
	}{
		{name: "empty store", want: create},
		{name: "own lease", leases: []Lease{lease("10.1.5.0/24", other), lease("10.1.7.0/24", me)}, want: adopt, key: key("10.1.7.0/24")},
		{name: "own lease before the previous subnet", leases: []Lease{lease("10.1.7.0/24", me)}, previous: "10.1.3.0/24", want: adopt, key: key("10.1.7.0/24")},
		{name: "of two own leases the previous", leases: []Lease{lease("10.1.7.0/24", me), lease("10.1.8.0/24", me)}, previous: "10.1.8.0/24", want: adopt, key: key("10.1.8.0/24")},
		{name: "of two own leases the compatible", leases: []Lease{lease("10.1.0.0/24", me), lease("10.1.8.0/24", me)}, want: adopt, key: key("10.1.8.0/24")},
		{name: "own reservation", leases: []Lease{reserved}, want: adopt, key: key("10.1.7.0/24")},
		{name: "own reservation that does not fit", leases: []Lease{unfit}, want: create},
		{name: "own reservation that does not fit, and a lease", leases: []Lease{unfit, lease("10.1.7.0/24", me)}, want: adopt, key: key("10.1.7.0/24")},
		{name: "own reservation that does not fit, and the previous subnet", leases: []Lease{unfit}, previous: "10.1.3.0/24", want: reuse, key: key("10.1.3.0/24")},
		{name: "own lease after Max", leases: []Lease{lease("10.1.61.0/24", me)}, want: drop, key: key("10.1.61.0/24")},
		{name: "own lease of another length", leases: []Lease{lease("10.1.8.0/25", me)}, want: drop, key: key("10.1.8.0/25")},
		{name: "own lease has IPv6, network has not", leases: []Lease{dual(lease("10.1.8.0/24", me), "fd00:0:0:2::/64")}, want: drop},
		{name: "network has IPv6, own lease has not", leases: []Lease{lease("10.1.8.0/24", me)}, v6: true, want: drop},
		{name: "own dual-stack lease", leases: []Lease{dual(lease("10.1.8.0/24", me), "fd00:0:0:2::/64")}, v6: true, want: adopt},
		{name: "previous is free", leases: []Lease{lease("10.1.5.0/24", other)}, previous: "10.1.3.0/24", want: reuse, key: key("10.1.3.0/24")},
		{name: "previous is another's", leases: []Lease{lease("10.1.3.0/24", other)}, previous: "10.1.3.0/24", want: create},
		{name: "previous is in another's larger subnet", leases: []Lease{lease("10.1.0.0/20", other)}, previous: "10.1.3.0/24", want: create},
		{name: "previous is out of range", previous: "10.9.3.0/24", want: create},
		{name: "previous is this host's own network", previous: "10.1.3.0/24", avoid: "10.1.3.128/25", want: create},
		{name: "own lease is this host's own network", leases: []Lease{lease("10.1.7.0/24", me)}, avoid: "10.1.0.0/20", want: drop},
		{name: "previous holds junk", junk: []Lease{{V4: Claim{Subnet: key("10.1.3.0/24").V4}}}, previous: "10.1.3.0/24", want: create},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.previous)
			if tt.avoid != "" {
				r.Avoid = []netip.Prefix{netip.MustParsePrefix(tt.avoid)}
			}
			if tt.v6 {
				r.Config.V6 = rangeOf("fd00::/48", 64, "fd00:0:0:1::", "fd00:0:0:ffff::")
			}
			s, err := decide(append(tt.leases, tt.junk...), r)
			if err != nil || s.do != tt.want || tt.key != (Key{}) && s.lease.Key() != tt.key {
				t.Fatalf("decide = %d %s, %v; want %d %s", s.do, s.lease.Key(), err, tt.want, tt.key)
			}
			if s.do != drop && s.lease.V4.Data != quoted("new") {
				t.Errorf("would write %q and not what was asked for", s.lease.V4.Data)
			}
			for _, l := range tt.leases {
				if s.do == create && overlap(l.V4.Subnet, s.lease.V4.Subnet) {
					t.Errorf("%s overlaps %s", s.lease.Key(), l.Key())
				}
			}
		})
	}
}

func TestDecideNeverPicksThisHostsOwnNetwork(t *testing.T) {
	r := request("")
	r.Avoid = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/19")} // all but half of it
	for range 200 {
		s, err := decide(nil, r)
		if err != nil || overlap(s.lease.V4.Subnet, r.Avoid[0]) {
			t.Fatalf("decide = %s, %v", s.lease.Key(), err)
		}
	}
}

func TestDecidePicksFamiliesIndependently(t *testing.T) {
	r := request("")
	r.Config.V6 = rangeOf("fd00::/48", 64, "fd00:0:0:1::", "fd00:0:0:4::")
	r.Config.V4 = rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.4.0")
	r.Previous = Key{netip.MustParsePrefix("10.1.4.0/24"), netip.MustParsePrefix("fd00:0:0:1::/64")}
	leases := []Lease{dual(lease("10.1.1.0/24", "192.0.2.2"), "fd00:0:0:4::/64"), dual(lease("10.1.2.0/24", "192.0.2.3"), "fd00:0:0:2::/64"),
		dual(lease("10.1.3.0/24", "192.0.2.4"), "fd00:0:0:1::/64")}
	s, err := decide(leases, r)
	want := Key{netip.MustParsePrefix("10.1.4.0/24"), netip.MustParsePrefix("fd00:0:0:3::/64")}
	if err != nil || s.do != create || s.lease.Key() != want {
		t.Errorf("decide = %d %s, %v; want %s: half of the previous is another's", s.do, s.lease.Key(), err, want)
	}
}

func TestAcquireReturnsASnapshotWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newFakeStore(lease("10.1.5.0/24", "192.0.2.9"), lease("10.1.7.0/24", me, "old")), &logs{}
		got, seen, err := acquire(t.Context(), store, request(""), l.logger())
		if err != nil || got.Key() != key("10.1.7.0/24") || got.V4.Data != quoted("new") {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
		v := NewView()
		v.Reset(seen)
		if own, _, ok := v.at(got.Key()); !ok || own != got || len(v.Leases()) != 2 || seen.Rev != 3 {
			t.Errorf("snapshot: %v", seen)
		}
		if _, _, err := acquire(t.Context(), store, request(""), l.logger()); err != nil || len(store.all()) != 2 {
			t.Errorf("twice is not once: %v, %v", err, store.all())
		}
		l.want(t, "Found lease (10.1.7.0/24) for current IP (192.0.2.1), reusing", 2)
		l.want(t, "Allocated lease (ip: 10.1.7.0/24 ipv6: <nil>) to current node (192.0.2.1)", 2)
	})
}

func TestAcquireDropsItsIncompatibleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newFakeStore(lease("10.2.7.0/24", me), lease("10.3.0.0/24", "192.0.2.9")), &logs{}
		got, _, err := acquire(t.Context(), store, request(""), l.logger())
		if err != nil || !request("").Config.V4.Contains(got.V4.Subnet) {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
		if _, ok := store.get(key("10.2.7.0/24")); ok {
			t.Error("the incompatible lease is still there")
		}
		if _, ok := store.get(key("10.3.0.0/24")); !ok {
			t.Error("another host's lease was deleted")
		}
		l.want(t, "not compatible with current config, deleting", 1)
		l.want(t, "Picking subnet in range 10.1.1.0 ... 10.1.60.0", 1)
	})
}

func TestAcquireLeavesAReservationWithoutTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reserved := lease("10.1.7.0/24", me, "old")
		reserved.Expires = time.Time{}
		store := newFakeStore(reserved)
		got, _, err := acquire(t.Context(), store, request(""), new(logs).logger())
		if err != nil || !got.Reserved() || got.V4.Data != quoted("new") {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
	})
}

func TestAcquireNeverDeletesAReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reserved := lease("10.1.7.0/25", me)
		reserved.Expires = time.Time{}
		store, l := newFakeStore(reserved, lease("10.1.8.0/25", me)), &logs{}
		got, _, err := acquire(t.Context(), store, request("10.1.7.0/24"), l.logger())
		if err != nil || got.Key().Overlaps(reserved.Key()) {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
		if now, ok := store.get(reserved.Key()); !ok || !now.SameClaim(reserved) {
			t.Errorf("the reservation is now %v", now)
		}
		if _, ok := store.get(key("10.1.8.0/25")); ok {
			t.Error("the lease that does not fit is still there")
		}
		l.want(t, `level=ERROR msg="Found reservation (10.1.7.0/25) for current IP (192.0.2.1) but not compatible`, 1)
		l.want(t, "leased to another host", 0)
	})
}

func TestAcquireWarnsOfALeaseThatAnotherHostMayHaveWritten(t *testing.T) {
	const ours = `{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`
	for name, tt := range map[string]struct {
		theirs string
		warns  int
	}{
		"the same":                  {ours, 0},
		"written by 0.13":           {`{"VtepMAC":"02:00:00:00:00:01"}`, 0},
		"a reservation's":           {"", 0},
		"another device's":          {`{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}`, 1},
		"another device's, by 0.13": {`{"VtepMAC":"02:00:00:00:00:09"}`, 1},
		"no object":                 {`"text"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l, r := newFakeStore(lease("10.1.7.0/24", me, tt.theirs)), &logs{}, request("")
				r.Lease.V4.Data = ours
				if _, _, err := acquire(t.Context(), store, r, l.logger()); err != nil {
					t.Fatal(err)
				}
				l.want(t, "level=WARN", tt.warns)
				l.want(t, "before this host was reinstalled or lost its state directory, or by another host that publishes the same PublicIP", tt.warns)
			})
		})
	}
}

// A restart with another configuration is an everyday thing, and no warning.
func TestAcquireSaysWhatItUpdates(t *testing.T) {
	const before, after = `{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`, `{"VNI":2,"VtepMAC":"02:00:00:00:00:02"}`
	for name, tt := range map[string]struct {
		was   string
		lines int
	}{"the same": {after, 0}, "another VNI": {before, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mine := lease("10.1.7.0/24", me, tt.was)
				mine.Node = "a"
				store, l, r := newFakeStore(mine), &logs{}, request("")
				r.Lease.Node, r.Lease.V4.Data = "a", after
				if _, _, err := acquire(t.Context(), store, r, l.logger()); err != nil {
					t.Fatal(err)
				}
				l.want(t, "level=WARN", 0)
				l.want(t, "level=INFO msg=\"This host's lease is updated to what the host runs with now\" subnet=10.1.7.0/24", tt.lines)
			})
		})
	}
}

func TestAcquireNeverTouchesThePreviousSubnetsNewHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newFakeStore(lease("10.1.7.0/24", "192.0.2.9", "theirs")), &logs{}
		got, _, err := acquire(t.Context(), store, request("10.1.7.0/24"), l.logger())
		theirs, _ := store.get(key("10.1.7.0/24"))
		if err != nil || got.Key() == theirs.Key() || theirs.Rev != 2 || theirs.V4.Data != quoted("theirs") {
			t.Fatalf("Acquire = %v, %v; theirs is %v", got, err, theirs)
		}
		l.want(t, "by=192.0.2.9", 1)
	})
}

// A write whose answer was lost must not leak a key or make a second owner.
func TestAcquireDecidesByOwnerAfterAnUnknownOutcome(t *testing.T) {
	for _, before := range [][]Lease{nil, {lease("10.1.7.0/24", me, "old")}} {
		synctest.Test(t, func(t *testing.T) {
			store := newFakeStore(before...)
			store.late = context.DeadlineExceeded
			got, _, err := acquire(t.Context(), store, request(""), new(logs).logger())
			if have, ok := store.get(got.Key()); err != nil || !ok || have.Rev != got.Rev || len(store.all()) != 1 {
				t.Errorf("Acquire = %v, %v; the store has %v", got, err, store.all())
			}
		})
	}
}

// The key exists, and the listing does not show it: trying for ever would hang.
func TestAcquireGivesUpAPreviousSubnetThatHoldsJunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.spoil(key("10.1.7.0/24"))
		got, _, err := acquire(t.Context(), store, request("10.1.7.0/24"), new(logs).logger())
		if err != nil || got.Key() == key("10.1.7.0/24") {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
	})
}

func TestAcquireWaitsForAFullNetworkToFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := request(""), &logs{}
		r.Config.V4 = rangeOf("10.1.0.0/16", 24, "10.1.1.0", "10.1.2.0")
		store := newFakeStore(lease("10.1.1.0/24", "192.0.2.8"))
		store.force(lease("10.1.2.0/24", "192.0.2.9"), time.Hour)
		start := time.Now()
		got, _, err := acquire(t.Context(), store, r, l.logger())
		if err != nil || got.Key() != key("10.1.2.0/24") {
			t.Fatalf("Acquire = %v, %v", got, err)
		}
		if waited := time.Since(start); waited < time.Hour || waited > time.Hour+time.Second {
			t.Errorf("took %s", waited)
		}
		l.want(t, "A subnet has become free", 1)
		if n := l.lines("2 of 2 from 10.1.1.0 to 10.1.2.0 are taken"); n < 11 || n > 13 {
			t.Errorf("%d lines about the full network in an hour, want one each 5 minutes", n)
		}
	})
}

func TestAcquireOutlastsAnOutageQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := newFakeStore(), &logs{}
		store.setDown(errDown)
		time.AfterFunc(4*time.Minute, func() { store.setDown(nil) })
		if _, _, err := acquire(t.Context(), store, request(""), l.logger()); err != nil {
			t.Fatal(err)
		}
		l.want(t, "level=ERROR", 1)
		l.want(t, "etcd is back", 1)
	})
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.setDown(errDown)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := acquire(ctx, store, request(""), new(logs).logger()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAcquireNeedsAnIdentity(t *testing.T) {
	r := request("")
	r.Lease.V4.PublicIP = netip.Addr{}
	var nobodys Lease
	nobodys.V4.Subnet = netip.MustParsePrefix("10.1.7.0/24")
	if got, _, err := acquire(t.Context(), newFakeStore(nobodys), r, new(logs).logger()); err == nil {
		t.Errorf("took %s as nobody", got.Key())
	}
}

func TestFiftyHostsAcquireDistinctSubnets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.delay = 20 * time.Millisecond // all decide on the same listing
		var mu sync.Mutex
		var wg sync.WaitGroup
		owners := map[Key]netip.Addr{}
		for i := range 50 {
			r := request("")
			r.Lease.V4.PublicIP = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			wg.Go(func() {
				got, _, err := acquire(t.Context(), store, r, new(logs).logger())
				mu.Lock()
				defer mu.Unlock()
				if other, twice := owners[got.Key()]; err != nil || twice {
					t.Errorf("%s for %s, %v; it is %s's", got.Key(), r.Lease.V4.PublicIP, err, other)
				}
				owners[got.Key()] = r.Lease.V4.PublicIP
			})
		}
		wg.Wait()
		if len(owners) != 50 || len(store.all()) != 50 || store.count("create") == 50 {
			t.Errorf("%d owners, %d leases, %d creates (there were no races)", len(owners), len(store.all()), store.count("create"))
		}
	})
}

func TestDecideByNode(t *testing.T) {
	node := func(l Lease, id string) Lease { l.Node = id; return l }
	copied := func(l Lease) Lease { l.Mirror = "v2"; return l }
	const other = "192.0.2.9"
	reserved := node(lease("10.1.7.0/24", other), "aaaa")
	reserved.Expires = time.Time{}
	for _, tt := range []struct {
		name   string
		leases []Lease
		change func(*Request)
		want   action
		key    Key
		asks   bool // whether the lease's host is there
	}{
		{name: "own id, own address", leases: []Lease{node(lease("10.1.7.0/24", me), "aaaa")}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "own id, own address, from an earlier run", leases: []Lease{node(lease("10.1.7.0/24", me, "new"), "aaaa")},
			change: func(r *Request) { r.Known = true }, want: adopt, key: key("10.1.7.0/24")},
		{name: "own id, own address, from an earlier run, another device", leases: []Lease{node(lease("10.1.7.0/24", me, "old"), "aaaa")},
			change: func(r *Request) { r.Known = true }, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "own id, own address, previous subnet", leases: []Lease{node(lease("10.1.7.0/24", me), "aaaa")},
			change: func(r *Request) { r.Previous = key("10.1.7.0/24") }, want: adopt, key: key("10.1.7.0/24")},
		{name: "own id, another address", leases: []Lease{node(lease("10.1.7.0/24", other), "aaaa")}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "no id, own address", leases: []Lease{lease("10.1.7.0/24", me)}, want: adopt, key: key("10.1.7.0/24")},
		{name: "no id, another address", leases: []Lease{lease("10.1.7.0/24", other)}, want: create},
		{name: "own id before own address", leases: []Lease{lease("10.1.3.0/24", me), node(lease("10.1.7.0/24", other), "aaaa")}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "reserved for the id", leases: []Lease{reserved}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "another id, own address", leases: []Lease{node(lease("10.1.7.0/24", me), "bbbb")}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "another id, own address, and a lease of ours", leases: []Lease{node(lease("10.1.3.0/24", me), "bbbb"), node(lease("10.1.7.0/24", me), "aaaa")},
			want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "the previous subnet, another id", leases: []Lease{node(lease("10.1.7.0/24", me), "bbbb")},
			change: func(r *Request) { r.Previous = key("10.1.7.0/24") }, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "the previous subnet, another id and address (a copied subnet.env)", leases: []Lease{node(lease("10.1.7.0/24", other), "bbbb")},
			change: func(r *Request) { r.Previous = key("10.1.7.0/24") }, want: create},
		{name: "taking over", leases: []Lease{node(lease("10.1.7.0/24", me), "bbbb")},
			change: func(r *Request) { r.TakeOver = true }, want: adopt, key: key("10.1.7.0/24")},
		{name: "a copy of the own lease", leases: []Lease{copied(node(lease("10.1.7.0/24", me, "old"), "aaaa"))}, want: adopt, key: key("10.1.7.0/24")},
		{name: "a copy of the own lease, as an older release wrote it", leases: []Lease{copied(lease("10.1.7.0/24", me))}, want: adopt, key: key("10.1.7.0/24")},
		{name: "a copy, and an own lease", leases: []Lease{copied(node(lease("10.1.3.0/24", me), "aaaa")), node(lease("10.1.7.0/24", me), "aaaa")},
			change: func(r *Request) { r.Known = true }, want: adopt, key: key("10.1.7.0/24")},
		{name: "a copy of another id's, own address", leases: []Lease{copied(node(lease("10.1.7.0/24", me), "bbbb"))}, want: adopt, key: key("10.1.7.0/24"), asks: true},
		{name: "this host has no id", leases: []Lease{node(lease("10.1.7.0/24", me), "bbbb")},
			change: func(r *Request) { r.Lease.Node = "" }, want: adopt, key: key("10.1.7.0/24")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request("")
			r.Lease.Node = "aaaa"
			if tt.change != nil {
				tt.change(&r)
			}
			s, err := decide(tt.leases, r)
			if err != nil || s.do != tt.want || s.contest != tt.asks || tt.key != (Key{}) && s.lease.Key() != tt.key {
				t.Errorf("decide = %d %s, asking: %t, %v; want %d %s, %t", s.do, s.lease.Key(), s.contest, err, tt.want, tt.key, tt.asks)
			}
			if s.lease.Node != r.Lease.Node || s.lease.V4.PublicIP.String() != me {
				t.Errorf("would write %+v", s.lease)
			}
		})
	}
}

// alive answers who contests a lease, as its host does until ctx is done, and notes whether
// anybody has written another lease there while the host was.
func alive(ctx context.Context, store *fakeStore, l Lease) (changed *atomic.Bool) {
	changed = new(atomic.Bool)
	answer := func(now Lease) {
		if now.Contest != "" {
			_, _ = store.Renew(ctx, now, l, 0)
		}
	}
	_, rev, _ := store.Leases(ctx)
	go func() {
		for ; ctx.Err() == nil; _ = backoff.Sleep(ctx, time.Second) {
			for e, err := range store.Watch(ctx, rev) {
				if err != nil {
					break
				}
				if rev = e.Lease.Rev; e.Lease.Key() != l.Key() {
					continue
				}
				if e.Deleted || !e.Lease.SameClaim(l) || e.Lease.Node != l.Node {
					changed.Store(true)
				}
				answer(e.Lease)
			}
			now, _ := store.get(l.Key())
			answer(now)
		}
	}()
	return changed
}

// Of two hosts that cannot be told apart, the second is not the first one.
func TestAcquireContestsWhatALiveHostMayHave(t *testing.T) {
	for _, lives := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			theirs := lease("10.1.7.0/24", me, "new")
			theirs.Node = "aaaa"
			theirs.Expires = time.Time{}
			store := newFakeStore(theirs)
			ctx, cancel := context.WithCancel(t.Context())
			changed := new(atomic.Bool)
			if lives {
				changed = alive(ctx, store, theirs)
			}
			r := request("")
			r.Lease.Node = "aaaa"
			start := time.Now()
			got, err := Acquire(t.Context(), store, r, new(logs).logger())
			switch {
			case lives && (!errors.Is(err, ErrDuplicate) || changed.Load()):
				t.Errorf("Acquire = %v, %v beside a live host; its lease was written over: %t", got.Lease, err, changed.Load())
			case !lives && (err != nil || got.Lease.Key() != theirs.Key() || got.Lease.Contest != "" || time.Since(start) > patienceTwin+time.Second):
				t.Errorf("Acquire = %v, %v after %s, with nobody there", got.Lease, err, time.Since(start))
			}
			cancel()
		})
	}
}

// A rival that is not there any more does not keep this host waiting for a day.
// A host that has moved to etcd's other API finds the copy of its lease there.
func TestAcquireTakesItsCopyAtOnce(t *testing.T) {
	for _, reserved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			copied := lease("10.1.7.0/24", "192.0.2.66", "old") // it has another address now
			copied.Node, copied.Mirror = "aaaa", "v2"
			if copied.Expires = time.Now().Add(DefaultTTL); reserved {
				copied.Expires = time.Time{}
			}
			store, out, start := newFakeStore(copied), new(logs), time.Now()
			r := request("")
			r.Lease.Node = "aaaa"
			got, _, err := acquire(t.Context(), store, r, out.logger())
			if err != nil || got.Key() != copied.Key() || got.Reserved() != reserved || time.Since(start) > 0 {
				t.Errorf("Acquire = %+v, %v after %s", got, err, time.Since(start))
			}
			if now, _ := store.get(copied.Key()); !now.Same(got) || now.Mirror != "" || now.Reserved() != reserved {
				t.Errorf("the store has %+v", now)
			}
		})
	}
}

func TestAcquireTakesWhatARivalHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := lease("10.1.7.0/24", me, "old")
		theirs.Node = "bbbb"
		store, l := newFakeStore(theirs), new(logs)
		r := request("")
		r.Lease.Node = "aaaa"
		start := time.Now()
		got, err := Acquire(t.Context(), store, r, l.logger())
		if err != nil || got.Lease.Key() != theirs.Key() || got.Lease.Node != "aaaa" || time.Since(start) > patienceRival+time.Second {
			t.Errorf("Acquire = %v, %v after %s", got.Lease, err, time.Since(start))
		}
		if now, _ := store.get(theirs.Key()); now.Node != "aaaa" || now.Contest != "" {
			t.Errorf("the store has %v", now)
		}
		l.want(t, "Taking over another node's lease", 1)
	})
}

// A copy of a whole host has another address, and that host's node id.
func TestAcquireIsNotTheDuplicateOfALiveHost(t *testing.T) {
	for name, row := range map[string]struct {
		lives bool
		down  time.Duration // when the store is away, for 5 s; zero: it is not
		late  error         // of the first write, which is carried out
	}{
		"alive": {lives: true}, "gone": {}, "gone, and the answer is lost": {late: errDown},
		"alive, and the listing fails": {lives: true, down: time.Millisecond}, "alive, and the answer is lost": {lives: true, late: errDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				theirs := lease("10.1.7.0/24", "192.0.2.9")
				theirs.Node = "aaaa"
				store := newFakeStore()
				store.force(theirs, 0)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				changed := new(atomic.Bool)
				if row.lives {
					changed = alive(ctx, store, theirs)
				}
				store.late = row.late
				if row.down > 0 {
					time.AfterFunc(row.down, func() { store.setDown(errDown) })
					time.AfterFunc(row.down+5*time.Second, func() { store.setDown(nil) })
				}
				r := request("")
				r.Lease.Node = "aaaa"
				got, err := Acquire(t.Context(), store, r, new(logs).logger())
				now, _ := store.get(theirs.Key())
				switch {
				case row.lives && (!errors.Is(err, ErrDuplicate) || changed.Load() || !now.Same(theirs)):
					t.Errorf("Acquire = %v, %v beside a live host, whose lease says %+v", got.Lease, err, now)
				case !row.lives && (err != nil || got.Lease.Key() != theirs.Key() || !now.Same(got.Lease)):
					t.Errorf("Acquire = %v, %v; the lease says %+v", got.Lease, err, now)
				}
			})
		})
	}
}

// A host has lost its node id and has another address, and etcd has its former lease.
func TestAcquireTakesWhatItsMachineHasLeft(t *testing.T) {
	former := lease("10.1.7.0/24", "192.0.2.9", "old")
	former.Node = "0123-9"
	device := former
	device.Node, device.V4.Data = "bbbb", quoted("new")
	older := device
	older.Node = ""
	another := former
	another.V4.Subnet, another.V4.PublicIP, another.Node = netip.MustParsePrefix("10.1.8.0/24"), netip.MustParseAddr("192.0.2.10"), "0123-a"
	for name, row := range map[string]struct {
		leases   []Lease
		lives    bool
		previous string
		known    bool
		takes    bool
		most     time.Duration
	}{
		"the machine's mark":             {leases: []Lease{former}, takes: true, most: patienceRival + time.Second},
		"the device's MAC":               {leases: []Lease{device}, takes: true, most: patienceRival + time.Second},
		"of a live host":                 {leases: []Lease{former}, lives: true, most: patienceRival},
		"an older release's":             {leases: []Lease{older}},
		"of a host that knows its id":    {leases: []Lease{former}, known: true},
		"one of two of the machine's":    {leases: []Lease{former, another}},
		"one of two, the previous one's": {leases: []Lease{former, another}, previous: "10.1.7.0/24", takes: true, most: patienceRival + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := newFakeStore(row.leases...), new(logs)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				changed := new(atomic.Bool)
				if row.lives {
					changed = alive(ctx, store, former)
				}
				r := request(row.previous)
				r.Lease.Node, r.Mark, r.Known = "0123-1", "0123", row.known
				start := time.Now()
				got, err := Acquire(t.Context(), store, r, l.logger())
				took := time.Since(start)
				if err != nil || (got.Lease.Key() == former.Key()) != row.takes || took > row.most || changed.Load() {
					t.Errorf("Acquire = %v, %v after %s; the lease of a live host was written over: %t", got.Lease, err, took, changed.Load())
				}
				now, _ := store.get(former.Key())
				if now.Contest != "" || (now.Node == "0123-1") != row.takes {
					t.Errorf("the lease says %+v", now)
				}
				l.want(t, "which this machine or its device had", map[bool]int{true: 1}[row.takes])
			})
		})
	}
}

func TestAcquireWaitsForARivalToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := lease("10.1.7.0/24", me)
		theirs.Node = "bbbb"
		store, l := newFakeStore(), &logs{}
		store.force(theirs, 0)
		lives, ends := context.WithCancel(t.Context())
		changed := alive(lives, store, theirs)
		time.AfterFunc(time.Hour, func() { ends(); store.remove(theirs.Key()) })
		r := request("")
		r.Lease.Node = "aaaa"
		var reasons []string
		r.Report = func(s Standing) {
			if s.State != Acquiring {
				t.Errorf("state %s", s.State)
			}
			reasons = append(reasons, s.Reason)
		}
		start := time.Now()
		got, err := Acquire(t.Context(), store, r, l.logger())
		if err != nil || time.Since(start) < time.Hour || time.Since(start) > time.Hour+time.Second || got.Lease.Node != "aaaa" {
			t.Errorf("Acquire = %v, %v after %s", got.Lease, err, time.Since(start))
		}
		if len(reasons) != 2 || reasons[0] != "" || !strings.Contains(reasons[1], "bbbb") {
			t.Errorf("reasons: %q", reasons)
		}
		if n := l.lines("another node has this host's PublicIP: 10.1.7.0/24 is leased to 192.0.2.1 (node bbbb), and this host is node aaaa"); n < 10 || n > 13 {
			t.Errorf("%d lines in an hour, want one each 5 minutes", n)
		}
		l.want(t, "--take-over", l.lines("level=ERROR"))
		if changed.Load() {
			t.Error("a live host's lease was written over")
		}
	})
}

// Two hosts with one PublicIP start at once, and find the lease of a third that is gone.
func TestOneOfTwoTakesWhatARivalHasLeft(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			theirs := lease("10.1.7.0/24", me, "old")
			theirs.Node = "aaaa"
			store, start := newFakeStore(theirs), time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan Acquired, 2)
			for _, node := range []string{"bbbb", "cccc"} {
				go func() {
					r := request("")
					r.Lease.Node = node
					if a, err := Acquire(ctx, store, r, new(logs).logger()); err == nil {
						got <- a
					}
				}()
			}
			a := <-got
			if took := time.Since(start); took > 3*patienceRival {
				t.Errorf("neither had the lease for %s", took)
			}
			lives, ends := context.WithCancel(t.Context())
			changed := alive(lives, store, a.Lease)
			time.Sleep(time.Minute)
			if now, _ := store.get(theirs.Key()); changed.Load() || len(got) > 0 || now.Node != a.Lease.Node {
				t.Errorf("both had it: %+v, which %+v took first", now, a.Lease)
			}
			ends()
			cancel()
			synctest.Wait()
		})
	}
}
