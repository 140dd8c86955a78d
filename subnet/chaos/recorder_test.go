package chaos

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A member can say in the header how far it is and be held up before the event: on
// a busy machine, or since it is stopped there. What was asked for has happened all
// the same.
func TestAnEventThatIsLateIsNoQuietTime(t *testing.T) {
	first := true
	event := func(action, key string, index int) string {
		return fmt.Sprintf(`{"action":%q,"node":{"key":%q,"modifiedIndex":%d}}`, action, prefix+key, index)
	}
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			return // ticks, which are not looked at here
		}
		w.Header().Set("X-Etcd-Index", "7")
		switch r.URL.Query().Get("waitIndex") {
		case "": // where the history begins
			w.Header().Set("X-Etcd-Index", "5")
			fmt.Fprint(w, event("get", "", 1))
			return
		case "6":
			if !first {
				fmt.Fprint(w, event("expire", "/subnets/10.64.13.0-24", 6))
				return
			}
			first = false
		case "7":
			fmt.Fprint(w, event("expire", "/subnets/10.64.14.0-24", 7))
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer member.Close()
	h := record(t, &etcd{urls: []string{member.URL}})
	for limit := time.Now().Add(10 * time.Second); len(h.soFar()) < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			h.mu.Lock()
			defer h.mu.Unlock()
			t.Fatalf("the history has %v, and is thought to be whole for %v", h.events, h.seen)
		}
	}
	h.stop()
	h.done.Wait()
}

// What may be, by what the store promises, and what may not.
func TestTheModelOfAKey(t *testing.T) {
	const a, b = "a's", "b's"
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"a creation is done once", []porcupine.Operation{
			op(1, 2, create, a, ok), op(3, 4, create, b, taken), read(5, 6, a),
		}, true},
		{"two hosts create one key", []porcupine.Operation{
			op(1, 2, create, a, ok), op(3, 4, create, b, ok),
		}, false},
		{"two hosts create one key at a time", []porcupine.Operation{
			op(1, 9, create, a, ok), op(2, 8, create, b, ok),
		}, false},
		// The store tells a host that creates what it has created: seen by others, it
		// is done a second time.
		{"a creation whose answer was lost is done again", []porcupine.Operation{
			op(1, 1000, create, a, unknown), read(3, 4, a), op(5, 6, create, a, ok), read(7, 8, a),
		}, true},
		{"a creation that is told of as done is not", []porcupine.Operation{
			op(1, 2, create, a, ok), read(3, 4, ""),
		}, false},
		{"a key expires", []porcupine.Operation{
			op(1, 2, create, a, ok), expire(3, 9), read(4, 5, a), op(6, 7, create, b, ok), read(8, 9, b),
		}, true},
		// This is what an event makes of a history that it is missed in.
		{"a key expires and nobody has seen it", []porcupine.Operation{
			op(1, 2, create, a, ok), read(4, 5, a), op(6, 7, create, b, ok), read(8, 9, b),
		}, false},
		{"a key is refreshed that is gone", []porcupine.Operation{
			op(1, 2, create, a, ok), expire(3, 4), op(5, 6, refresh, a, ok),
		}, false},
		{"a key is lost that is not", []porcupine.Operation{
			op(1, 2, create, a, ok), op(3, 4, refresh, a, lost),
		}, false},
		{"a refresh of another host's key is refused", []porcupine.Operation{
			op(1, 2, create, a, ok), op(3, 4, refresh, b, lost), op(5, 6, renew, b, lost), read(7, 8, a),
		}, true},
		// Whoever wants a lease that it may not hold writes a mark into it first.
		{"another value is written over the one that was read", []porcupine.Operation{
			op(1, 2, create, a, ok), over(3, 4, a, b, ok), read(5, 6, b), over(7, 1000, b, a, unknown), read(8, 9, b), read(10, 11, a),
		}, true},
		{"another value is written over one that was not there", []porcupine.Operation{
			op(1, 2, create, a, ok), over(3, 4, "c's", b, ok),
		}, false},
		{"what is not known is done late", []porcupine.Operation{
			op(1, 1000, create, a, unknown), read(3, 4, ""), read(5, 6, a), op(7, 1000, remove, a, unknown), read(8, 9, ""),
		}, true},
		{"what is not known is done twice", []porcupine.Operation{
			op(1, 1000, create, a, unknown), read(3, 4, a), expire(5, 6), read(7, 8, a),
		}, false},
		{"a list is of the past", []porcupine.Operation{
			op(1, 2, create, a, ok), op(3, 4, remove, a, ok), op(5, 6, create, b, ok), read(7, 8, a),
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.ops {
				tt.ops[i].ClientId = i
			}
			if got := porcupine.CheckOperations(register.ToModel(), tt.ops); got != tt.want {
				t.Errorf("it may be: %t, want %t", got, tt.want)
			}
		})
	}
}

func op(call, end int64, k kind, value string, o outcome) porcupine.Operation {
	return porcupine.Operation{Call: call, Return: end, Input: input{kind: k, value: value, was: value}, Output: got{done: o}}
}

func over(call, end int64, was, value string, o outcome) porcupine.Operation {
	return porcupine.Operation{Call: call, Return: end, Input: input{renew, value, was}, Output: got{done: o}}
}

func read(call, end int64, value string) porcupine.Operation {
	return porcupine.Operation{Call: call, Return: end, Input: input{kind: list}, Output: got{value: value}}
}

func expire(call, end int64) porcupine.Operation { return op(call, end, expiry, "", ok) }

// What hosts may believe, and how long, by what the store says has happened. With the v3 API
// an expiry is a deletion that nobody has asked for.
func TestWhatIsFoundGuilty(t *testing.T) {
	const key = "10.64.1.0-24"
	a, b := identity{Number: 1, Pool: 20}, identity{Number: 2, Pool: 20}
	value := func(i identity) string {
		l := i.lease()
		l.V4.Subnet = network(i.Pool).V4.Network
		return encode(l)
	}
	gone := event{
		Action: "delete", Seen: 100, Node: &node{Key: prefix + "/subnets/" + key, ModifiedIndex: 8},
		PrevNode: &node{Value: value(a), ModifiedIndex: 7},
	}
	taken := event{Action: "create", Seen: 200, Node: &node{Key: gone.Node.Key, Value: value(b), ModifiedIndex: 9}}
	over := event{Action: "compareAndSwap", Seen: 100, Node: &node{Key: gone.Node.Key, Value: value(b), ModifiedIndex: 8}, PrevNode: gone.PrevNode}
	holds := func(i identity, from, to moment, rev uint64) note {
		return note{Host: i.owner(), Kind: hold, Key: key, At: from, Until: to, Rev: rev}
	}
	for _, tt := range []struct {
		name                          string
		events                        []event
		notes                         []note
		twice, superseded, overwrites int
	}{
		{"until it expires", []event{gone}, []note{holds(a, 1, 99, 7)}, 0, 0, 0},
		{"until another host takes it", []event{gone, taken}, []note{holds(a, 1, 99, 7), holds(b, 200, 300, 9)}, 0, 0, 0},
		{"after it has expired", []event{gone}, []note{holds(a, 1, 101, 7)}, 0, 1, 0},
		{"after it has expired, and anew", []event{gone}, []note{holds(a, 1, 50, 7), holds(a, 150, 151, 7)}, 0, 1, 0},
		{"while it is another host's", []event{gone, taken}, []note{holds(a, 1, 201, 7), holds(b, 200, 300, 9)}, 1, 2, 0},
		{"what it has dropped", []event{gone}, []note{holds(a, 1, 300, 7), {Host: a.owner(), Kind: drop, At: 99}}, 0, 0, 0},
		{"what it has asked to be deleted", []event{gone}, []note{
			holds(a, 1, 99, 7), {Host: a.owner(), Kind: remove, Key: key, Rev: 7, Call: 98},
		}, 0, 0, 0},
		{"what another host wrote over", []event{over}, []note{holds(a, 1, 99, 7)}, 0, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := judge(classified(slices.Clone(tt.events), tt.notes), tt.notes)
			if len(v.twice) != tt.twice || len(v.superseded) != tt.superseded || len(v.overwrites) != tt.overwrites {
				t.Errorf("found %+v, want %d, %d and %d", v, tt.twice, tt.superseded, tt.overwrites)
			}
		})
	}
}
