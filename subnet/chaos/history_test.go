package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is a change of a lease as the store tells it.
type event struct {
	Action         string
	Node, PrevNode *node
	Seen           moment // when the first watch had it: later than it happened
	Begun          moment `json:",omitempty"` // before it happened; zero: that follows from when its key was to expire
}

type node struct {
	Key, Value    string
	Dir           bool
	ModifiedIndex uint64
	Expiration    *time.Time
}

func (e event) index() uint64 { return e.Node.ModifiedIndex }
func (e event) lease() string { return path.Base(e.Node.Key) }

// removes reports whether the key is absent after the event.
func (e event) removes() bool {
	return e.Action == "delete" || e.Action == "expire" || e.Action == "compareAndDelete"
}

// owner is who wrote a value: its PublicIP and node id, as far as there are such.
func owner(value string) string {
	var v struct{ PublicIP, NodeID string }
	if json.Unmarshal([]byte(value), &v) != nil {
		return "nobody"
	}
	return v.PublicIP + " " + v.NodeID
}

// history is what happened to the leases, put together from a watch at each
// member. Refreshes are no events.
//
// Only an event shows what was before it: that there was none since the one that
// was asked behind. That a wait brings nothing shows nothing, however far the store
// is by the answer's header: the event may be on its way after that. So there are
// ticks, which are events of our own.
type history struct {
	mu     sync.Mutex
	events map[uint64]event // without the ticks
	seen   []span           // of indexes in which no event was missed
	start  uint64
	end    chan struct{} // closed when the last event has been seen
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// span is of indexes, from excluded, to included.
type span struct{ from, to uint64 }

const (
	endKey  = prefix + "/end"
	tickKey = prefix + "/tick/" // and the number of the member
)

// tick is how often each member is asked to write one. Between two, the store must
// write less than the 1000 events that it remembers.
const tick = 100 * time.Millisecond

// record begins a history. It must be ended.
func record(t testing.TB, e *etcd) *history {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h := &history{events: make(map[uint64]event), end: make(chan struct{}), stop: stop}
	t.Cleanup(func() { stop(); h.done.Wait() })
	var at uint64
	for limit := time.Now().Add(time.Minute); ; { // an election takes its time on a busy machine
		var err error
		if _, at, err = ask(t.Context(), e.urls[0]+"/v2/keys/?quorum=true"); err == nil && at > 0 {
			break
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
	h.start = at
	for i, u := range e.urls {
		h.done.Go(func() { h.watch(ctx, u, at) })
		h.done.Go(func() {
			for ctx.Err() == nil {
				// One that fails is one less: the others' go on.
				_ = put(ctx, http.DefaultClient, u, tickKey+strconv.Itoa(i), url.Values{"value": {"x"}})
				pause(ctx, tick)
			}
		})
	}
	return h
}

// look is how long one wait lasts. A member that has fallen far behind forgets who
// waits.
const look = time.Second

// errCleared: the member does not remember as much.
var errCleared = errors.New("history cleared")

// ask returns the event that a wait brings. It also returns how far the store was
// if that has forgotten what was asked for, or if it was no wait.
func ask(ctx context.Context, url string) (*event, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	at, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	if err != nil {
		return nil, 0, err
	}
	var e event
	var failure struct{ ErrorCode int }
	switch {
	case resp.StatusCode == http.StatusBadRequest:
		err = json.NewDecoder(resp.Body).Decode(&failure)
		if err == nil && failure.ErrorCode == 401 {
			err = errCleared
		}
		return nil, at, err
	case resp.StatusCode != http.StatusOK:
		return nil, 0, errors.New(resp.Status)
	}
	if err = json.NewDecoder(resp.Body).Decode(&e); err == nil && e.Node == nil {
		err = errors.New("no node")
	}
	if err != nil {
		return nil, 0, err
	}
	e.Seen = now()
	return &e, at, nil
}

// watch keeps asking one member, which may be down, for what comes after.
func (h *history) watch(ctx context.Context, url string, after uint64) {
	for ctx.Err() == nil {
		e, at, err := ask(ctx, fmt.Sprintf("%s/v2/keys%s?wait=true&recursive=true&waitIndex=%d", url, prefix, after+1))
		switch {
		case errors.Is(err, errCleared):
			after = max(after, at) // what is between has been seen by another watch, or the run is void
		case err != nil:
			pause(ctx, 20*time.Millisecond)
		default:
			h.saw(after, *e)
			after = e.index()
		}
	}
}

// saw notes the first event after an index.
func (h *history) saw(from uint64, e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := e.index()
	h.seen = append(h.seen, span{from, to})
	if strings.HasPrefix(e.Node.Key, tickKey) {
		return
	}
	if old, ok := h.events[to]; !ok || e.Seen < old.Seen {
		h.events[to] = e
	}
	if e.Node.Key == endKey {
		select {
		case <-h.end:
		default:
			close(h.end)
		}
	}
}

// soFar returns what is known already; pieces may be missing.
func (h *history) soFar() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.events), func(a, b event) int { return int(int64(a.index()) - int64(b.index())) })
}

// finish ends the history and returns all events in order. It fails the test if
// some may be missing.
func (h *history) finish(t testing.TB, e *etcd) []event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := e.set(ctx, endKey, "x"); err != nil {
		t.Fatal(err)
	}
	return h.whole(ctx, t)
}

// whole returns all events up to the last one, when that was seen.
func (h *history) whole(ctx context.Context, t testing.TB) []event {
	t.Helper()
	select {
	case <-h.end:
	case <-ctx.Done():
		t.Fatal("the history does not reach its end")
	}
	h.stop()
	h.done.Wait()
	events := h.soFar()
	i := slices.IndexFunc(events, func(e event) bool { return e.Node.Key == endKey })
	last := events[i].index()
	for _, hole := range holes(h.seen, h.start, last) {
		t.Errorf("no watch saw what happened from index %d to %d", hole.from+1, hole.to)
	}
	return events[:i]
}

// holes returns what the spans leave open.
func holes(seen []span, start, end uint64) []span {
	slices.SortFunc(seen, func(a, b span) int { return int(int64(a.from) - int64(b.from)) })
	var open []span
	for _, s := range seen {
		if s.from > start && start < end {
			open = append(open, span{start, min(s.from, end)})
		}
		start = max(start, s.to)
	}
	if start < end {
		open = append(open, span{start, end})
	}
	return open
}
