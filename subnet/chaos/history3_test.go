package chaos

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// history3 is the history of etcd's v3 API, which tells every change of a key until it
// is compacted: nothing is compacted that not all of the watches have seen. It does not tell
// what a deletion was, nor when: a tick that was asked for before it bounds that.
type history3 struct {
	history
	clients []*clientv3.Client // one at each member

	mu3   sync.Mutex
	ticks []told  // in the order of revisions, more or less
	at    []int64 // how far each watch is
}

// told is a tick: when it was asked for, and its revision.
type told struct {
	call moment
	rev  int64
}

// record3 begins a history. It must be ended.
func record3(t testing.TB, e *etcd) *history3 {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h := &history3{history: history{events: make(map[uint64]event), end: make(chan struct{}), stop: stop}, at: make([]int64, len(e.urls))}
	t.Cleanup(func() { stop(); h.done.Wait() })
	for _, u := range e.urls {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{u}, DialTimeout: time.Minute, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		h.clients = append(h.clients, c)
	}
	first, cancel := context.WithTimeout(ctx, time.Minute) // an election takes its time on a busy machine
	defer cancel()
	r, err := h.clients[0].Get(first, "x")
	if err != nil {
		t.Fatal(err)
	}
	h.start = uint64(r.Header.Revision)
	for i := range h.clients {
		h.at[i] = r.Header.Revision
		h.done.Go(func() { h.watch3(ctx, i) })
		h.done.Go(func() { h.tick(ctx, i) })
	}
	return h
}

// tick writes one now and then by a member, which may be down.
func (h *history3) tick(ctx context.Context, i int) {
	for ; ctx.Err() == nil; pause(ctx, tick) {
		call := now()
		short, cancel := context.WithTimeout(ctx, look)
		r, err := h.clients[i].Put(short, tickKey+strconv.Itoa(i), "x")
		cancel()
		if err == nil {
			h.mu3.Lock()
			h.ticks = append(h.ticks, told{call, r.Header.Revision})
			h.mu3.Unlock()
		}
	}
}

// watch3 follows one member, which may be down. A member that hangs would keep it.
func (h *history3) watch3(ctx context.Context, i int) {
	after := int64(h.start)
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 5*look)
		for r := range h.clients[i].Watch(clientv3.WithRequireLeader(one), prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithPrevKV()) {
			for _, e := range r.Events {
				h.saw(uint64(after), changed(e))
				after = e.Kv.ModRevision
			}
			h.mu3.Lock()
			h.at[i] = after
			h.mu3.Unlock()
		}
		cancel()
	}
}

// changed is an event as the v2 API tells it. A deletion may be an expiry, see classified.
func changed(e *clientv3.Event) event {
	is := event{Action: "compareAndSwap", Seen: now(), Node: &node{Key: string(e.Kv.Key), Value: string(e.Kv.Value), ModifiedIndex: uint64(e.Kv.ModRevision)}}
	switch {
	case e.IsCreate():
		is.Action = "create"
	case !e.IsModify():
		is.Action = "delete"
	}
	if e.PrevKv != nil {
		is.PrevNode = &node{Key: string(e.PrevKv.Key), Value: string(e.PrevKv.Value), ModifiedIndex: uint64(e.PrevKv.ModRevision)}
	}
	return is
}

// forget makes etcd forget what happened before, as far as all watches have seen it.
func (h *history3) forget(ctx context.Context, n int) {
	h.mu3.Lock()
	rev := slices.Min(h.at)
	h.mu3.Unlock()
	for i := range min(n, 50) {
		// What fails is one less.
		_, _ = h.clients[i%len(h.clients)].Put(ctx, "/others/x", "x")
	}
	for _, c := range h.clients {
		if _, err := c.Compact(ctx, rev); err == nil {
			return
		}
	}
}

func (h *history3) finish(t testing.TB, e *etcd) []event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := 0; ; i++ {
		one, stop := context.WithTimeout(ctx, 2*time.Second)
		_, err := h.clients[i%len(h.clients)].Put(one, endKey, "x")
		stop()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	events := h.whole(ctx, t)
	for i, e := range events {
		for _, tick := range h.ticks {
			if uint64(tick.rev) < e.index() {
				events[i].Begun = max(events[i].Begun, tick.call)
			}
		}
		events[i].Begun = max(1, min(events[i].Begun, e.Seen))
	}
	return events
}

// classified tells expiries from deletions: those that no host has asked for, of what was
// there.
func classified(events []event, notes []note) []event {
	type which struct {
		key string
		rev uint64
	}
	asked := make(map[which]bool)
	for _, n := range notes {
		if n.Kind == remove {
			asked[which{n.Key, n.Rev}] = true
		}
	}
	for i, e := range events {
		if e.Action == "delete" && e.PrevNode != nil && !asked[which{e.lease(), e.PrevNode.ModifiedIndex}] {
			events[i].Action = "expire"
		}
	}
	return events
}
