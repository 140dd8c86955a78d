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
	"flanneld/subnet/etcd2"
	"flanneld/subnet/wire"
)

// Times of a host with a lease of seconds. A day's lease is renewed every hour
// and given up five minutes early.
const (
	ttl    = 4 * time.Second
	every  = time.Second
	margin = 500 * time.Millisecond
	call   = time.Second
)

// identity is what a host is given.
type identity struct {
	Number    int      // of its address, and in its node id
	Endpoints []string // of the store
	Pool      int      // subnets of the network
	Previous  string   // the key of the last life; empty if there was none
	Lives     int      // before this one
	Verbose   bool
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

func config(pool int) subnet.Config {
	r := subnet.Range{Network: netip.MustParsePrefix("10.64.0.0/10"), SubnetLen: 24, Min: netip.MustParseAddr("10.64.0.0")}
	r.Max = netip.AddrFrom4([4]byte{10, 64 + byte((pool-1)>>8), byte(pool - 1), 0})
	return subnet.Config{V4: r, Type: "vxlan"}
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

// live is a host's life: it takes a lease, holds it and follows those of others,
// until ctx is done. What it does and believes is noted.
func live(ctx context.Context, id identity, tell func(note)) error {
	s, err := etcd2.New(etcd2.Options{Endpoints: id.Endpoints, Prefix: prefix, Timeout: call, Log: id.log()})
	if err != nil {
		return err
	}
	var calls atomic.Int64
	calls.Store(int64(id.Lives) * 1e6)
	h := &believer{owner: id.owner(), tell: tell, sent: make(map[subnet.Key]moment)}
	store := &noted{Store: s, host: id.owner(), last: &calls, note: func(n note) {
		h.heard(n)
		tell(n)
	}}
	defer h.drop()
	r := subnet.Request{Config: config(id.Pool), Lease: id.lease(), Previous: id.previous(), TTL: ttl}
	view := subnet.NewView()
	var follow sync.WaitGroup
	defer follow.Wait()
	for first := true; ctx.Err() == nil; first = false {
		since := time.Now()
		l, seen, err := subnet.Acquire(ctx, store, r, id.log())
		if err != nil {
			return nil // the end of ctx
		}
		h.hold(l)
		if first {
			view.Reset(seen)
			follow.Go(func() { _ = subnet.Follow(ctx, store, view, seen.Rev, id.log()) })
		}
		_ = subnet.Hold(ctx, store, l, subnet.Holding{
			TTL: ttl, Margin: ttl - every, Since: since, View: view, Log: id.log(), Renewed: h.hold,
		})
		h.drop()
		r.Previous = l.Key()
	}
	return nil
}

// believer notes what a host believes: that a subnet is its own until its lease
// can have expired, counted from when the last write was sent that is known to
// have been done.
type believer struct {
	owner string
	tell  func(note)
	mu    sync.Mutex
	sent  map[subnet.Key]moment
}

// heard keeps the time of each write that has succeeded.
func (b *believer) heard(n note) {
	if n.Done != ok || n.Kind == list || n.Kind == remove {
		return
	}
	k, err := wire.ParseKey(n.Key)
	if err != nil {
		panic(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[k] = n.Call
}

func (b *believer) hold(l subnet.Lease) {
	b.mu.Lock()
	sent := b.sent[l.Key()]
	b.mu.Unlock()
	b.tell(note{Host: b.owner, Kind: hold, Key: wire.Key(l.Key()), At: now(), Until: sent.add(ttl - margin), Rev: uint64(l.Rev)})
}

func (b *believer) drop() { b.tell(note{Host: b.owner, Kind: drop, At: now()}) }
