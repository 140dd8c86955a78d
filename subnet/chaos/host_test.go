package chaos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd2"
	"flanneld/subnet/etcd3"
	"flanneld/subnet/wire"
)

// Times of a host with a lease of seconds. It renews it every second, and gives
// it up half a second before it can expire.
const (
	ttl  = 4 * time.Second
	call = time.Second
)

// identity is what a host is given.
type identity struct {
	Number    int      // of its address, and in its node id
	Endpoints []string // of the store
	Pool      int      // subnets of the network
	Previous  string   // the key of the last life; empty if there was none
	Lives     int      // before this one
	Verbose   bool
	V3        bool // it is etcd's v3 API

	clock *clock // nil: nobody sets it
}

func (i identity) addr() netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i.Number >> 8), byte(i.Number)})
}
func (i identity) node() string { return fmt.Sprintf("node-%d", i.Number) }

// owner is what the function of that name makes of the host's values.
func (i identity) owner() string { return i.addr().String() + " " + i.node() }

func (i identity) lease() subnet.Lease {
	return subnet.Lease{Type: "vxlan", Node: i.node(), V4: subnet.Claim{
		PublicIP: i.addr(), Data: fmt.Sprintf(`{"VNI":1,"VtepMAC":"02:00:00:00:%02x:%02x"}`, i.Number>>8, i.Number&255),
	}}
}

func network(pool int) config.Config {
	r := config.Range{Network: netip.MustParsePrefix("10.64.0.0/10"), SubnetLen: 24, Min: netip.MustParseAddr("10.64.0.0")}
	r.Max = netip.AddrFrom4([4]byte{10, 64 + byte((pool-1)>>8), byte(pool - 1), 0})
	return config.Config{V4: r, Type: "vxlan"}
}

func (i identity) previous() subnet.Key {
	k, err := wire.ParseKey(i.Previous)
	if err != nil {
		return subnet.Key{}
	}
	return k
}

func (i identity) log() *slog.Logger {
	var w io.Writer = os.Stderr
	if !i.Verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil)).With("host", i.Number)
}

// dial returns the host's store, and what ends it. A call may take so long.
func (i identity) dial(call time.Duration) (subnet.Store, func(), error) {
	if i.V3 {
		s, err := etcd3.New(etcd3.Options{Endpoints: i.Endpoints, Prefix: prefix, Timeout: call, Log: i.log()})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
	s, err := etcd2.New(etcd2.Options{Endpoints: i.Endpoints, Prefix: prefix, Timeout: call, Log: i.log()})
	return s, func() {}, err
}

// live is a host's life: it takes a lease, holds it and follows those of others,
// until ctx is done. What it does and believes is noted.
func live(ctx context.Context, id identity, tell func(note)) error {
	s, done, err := id.dial(call)
	if err != nil {
		return err
	}
	defer done()
	var calls atomic.Int64
	calls.Store(int64(id.Lives) * 1e6)
	store := &noted{Store: s, host: id.owner(), last: &calls, note: tell}
	b := &believer{id.owner(), tell, id.clock}
	defer b.drop()
	r := subnet.Request{Config: network(id.Pool), Lease: id.lease(), Previous: id.previous(), TTL: ttl, Clock: b.clock.read}
	view := subnet.NewView()
	var follow sync.WaitGroup
	defer follow.Wait()
	for rebound := false; ctx.Err() == nil; rebound = true {
		got, err := subnet.Acquire(ctx, store, r, id.log())
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err != nil {
			return nil
		}
		if !rebound {
			view.Reset(got.Seen)
			follow.Go(func() { _ = subnet.Follow(ctx, store, view, got.Seen.Rev, id.log()) })
		}
		_ = subnet.Hold(ctx, store, got.Lease, subnet.Holding{
			TTL: ttl, Clock: b.clock.read, Sent: got.Sent, Rebound: rebound, View: view, Log: id.log(), Report: b.stands,
		})
		b.drop() // its end is one of ctx, or another host has the subnet
		r.Previous, r.Freed = got.Lease.Key(), view.Freed()
	}
	return nil
}

// believer notes how a host stands with its lease.
type believer struct {
	owner string
	tell  func(note)
	clock *clock
}

func (b *believer) stands(s subnet.Standing) {
	if !s.State.Safe() {
		b.drop()
		return
	}
	b.tell(note{Host: b.owner, Kind: hold, Key: wire.Key(s.Lease.Key()), At: now(), Until: b.clock.moment(s.Deadline), Rev: uint64(s.Lease.Rev)})
}

func (b *believer) drop() { b.tell(note{Host: b.owner, Kind: drop, At: now()}) }
