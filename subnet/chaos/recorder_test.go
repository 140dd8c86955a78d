package chaos

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
