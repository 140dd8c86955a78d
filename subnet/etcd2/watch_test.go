package etcd2

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"flanneld/subnet"
)

// event9 is the answer to a wait that 10.5.1.0/24 was written at an index.
const event9 = `{"action":"set","node":{"key":"/net/subnets/10.5.1.0-24","value":"{\"PublicIP\":\"192.0.2.1\"}","modifiedIndex":9,"createdIndex":9}}`

func TestWaitsThatComeToNothingAreSpacedOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		wait      http.HandlerFunc
		compacted bool
	}{
		{"an empty object", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 200, "{}") }, false},
		{"an empty node", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 200, `{"node":{}}`) }, false},
		{"an empty body", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 200, "") }, false},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 200, "<") }, false},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, false},
		{"a bad gateway", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, false},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>Log in</html>")) }, false},
		{"no such page", http.NotFound, false},
		{"blanks", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(" \n ")) }, false},
		{"a redirect that leads nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, false},
		{"a closed connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		{"an event of the past", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 200, event9) }, false},
		{"a cleared index", func(w http.ResponseWriter, _ *http.Request) { reply(w, 9, 400, cleared) }, true},
		{"a store that is behind", quiet(8), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if isWait(r) {
						tt.wait(w, r)
					} else {
						reply(w, 9, 200, someNode)
					}
				})
				s := f.store(t)
				const length = 400 * time.Millisecond
				_, err := watch(t.Context(), s, 9, 1)
				if err == nil || errors.Is(err, subnet.ErrCompacted) != tt.compacted {
					t.Errorf("Watch: %v, ErrCompacted wanted: %v", err, tt.compacted)
				}
				f.waits.Store(0)
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				enough := func() bool { return time.Since(start) >= length && f.waits.Load() >= 4 }
				together(map[string]func(context.Context) error{
					"Watch":       func(ctx context.Context) error { _, err := watch(ctx, s, 9, 1); return err },
					"AwaitConfig": func(ctx context.Context) error { _, err := s.AwaitConfig(ctx, 9); return err },
				}, func(_ string, call func(context.Context) error) {
					for ctx.Err() == nil && !enough() {
						call(ctx)
					}
				})
				took := time.Since(start) // on a busy machine contexts end late
				most := 2 * int32(took/s.times.pause+1)
				if n := f.waits.Load(); n < 4 || n > most {
					t.Errorf("Watch and AwaitConfig, called in a loop, ask %d times in %v, want 4 to %d", n, took, most)
				}
				s.api.transport.CloseIdleConnections()
				noConns(t, f)
			})
		})
	}
}

// The client dereferences the node of each event.
func TestAnEventWithoutANodeIsAFailure(t *testing.T) {
	for _, body := range []string{"{}", `{"action":"set"}`, `{"node":null}`, `{"action":"delete","prevNode":{"key":"/x"}}`} {
		t.Run(body, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, func(w http.ResponseWriter, r *http.Request) { reply(w, 9, 200, body) })
				_, err := watch(t.Context(), f.store(t), 8, 1)
				wantFailure(t, "Watch", err, f.URL, "not etcd's (check that --etcd-endpoints names an etcd")
				if strings.Contains(err.Error(), "runtime error") {
					t.Error(err)
				}
			})
		})
	}
}

// etcd itself, and many a proxy, ends a wait after a while with nothing.
func TestAWaitThatEndsEmptyLateIsQuiet(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		var n atomic.Int32
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch n.Add(1) {
			case 1, 2:
				reply(w, 8, http.StatusOK, "")
				w.(http.Flusher).Flush()
				time.Sleep(hasty().soon + 50*time.Millisecond)
			default:
				reply(w, 8, http.StatusOK, event9)
			}
		})
		if e, err := watch(t.Context(), f.store(t), 8, 1); err != nil || len(e) != 1 {
			t.Errorf("Watch yields %v, %v; want the event", e, err)
		}
	})
}

func TestWatchAsksBehindWhatItKnows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		after subnet.Revision
		first http.HandlerFunc
		asked []string
	}{
		{"from a revision and on from an event", 5, func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, event9) }, []string{"6", "10"}},
		{"from the beginning", 0, func(w http.ResponseWriter, _ *http.Request) { reply(w, 0, 200, event9) }, []string{"2", "10"}},
		{"on from where a quiet store was, when that is shown", 5, quiet(50), []string{"6", "6", "51"}},
		{"on from where the store was when a quiet wait ended early", 5, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 50, 200, "")
			w.(http.Flusher).Flush()
			time.Sleep(hasty().soon + 50*time.Millisecond)
		}, []string{"6", "6", "51"}},
		{"from the beginning of an empty store, again", 0, quiet(0), []string{"2", "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				asked := make(chan string, 100)
				var n atomic.Int32
				f := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if !isWait(r) {
						reply(w, 60, 404, noKeyAt(60))
						return
					}
					asked <- r.URL.Query().Get("waitIndex")
					if n.Add(1) == 1 {
						tt.first(w, r)
					} else {
						quiet(50)(w, r)
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*hasty().poll)
				defer cancel()
				go watch(ctx, f.store(t), tt.after, 100)
				var got []string
				for range tt.asked {
					select {
					case a := <-asked:
						got = append(got, a)
					case <-ctx.Done():
					}
				}
				if !slices.Equal(got, tt.asked) {
					t.Errorf("waits from %v, want %v", got, tt.asked)
				}
			})
		})
	}
}

// A member can be stopped, or cut off, when it has said how far it is and not yet what
// has happened.
func TestAnEventThatIsHeldUpBehindItsHeaderIsNotLost(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		var n atomic.Int32
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !isWait(r):
				reply(w, 50, 200, someNode)
			case n.Add(1) == 1 || r.URL.Query().Get("waitIndex") != "6":
				quiet(50)(w, r)
			default:
				reply(w, 50, 200, event9)
			}
		})
		if e, err := watch(t.Context(), f.store(t), 5, 1); err != nil || len(e) != 1 {
			t.Errorf("Watch yields %v, %v; want the event", e, err)
		}
	})
}

func TestWatchOfAnotherClusterIsErrCompacted(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if isWait(r) {
				w.Header().Set("X-Etcd-Cluster-Id", "c2")
				w.Header().Set("X-Etcd-Index", "1000")
				w.(http.Flusher).Flush()
				hang(w, r)
				return
			}
			reply(w, 9, 200, `{"node":{"key":"/net/subnets","dir":true,"modifiedIndex":5}}`)
		})
		s := f.store(t)
		_, rev, err := s.Leases(t.Context())
		if err != nil || rev != 9 {
			t.Fatalf("Leases at %d, %v", rev, err)
		}
		if _, err := watch(t.Context(), s, rev, 1); !errors.Is(err, subnet.ErrCompacted) {
			t.Errorf("Watch: %v, want ErrCompacted", err)
		}
	})
}

func TestWatchClosesItsConnections(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		var n atomic.Int32
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%2 == 1 {
				reply(w, 8, 200, event9)
			} else {
				quiet(9)(w, r)
			}
		})
		s := f.store(t)
		if e, err := watch(t.Context(), s, 8, 1); err != nil || len(e) != 1 {
			t.Errorf("Watch: %v, %v", e, err)
		}
		noConns(t, f)
		ctx, cancel := context.WithTimeout(t.Context(), hasty().poll/2)
		defer cancel()
		if _, err := watch(ctx, s, 9, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch: %v", err)
		}
		noConns(t, f)
	})
}

// holder is a server behind a proxy that sends the header of a wait with the
// event.
type holder struct {
	index, hung atomic.Int32
	event       chan string
}

func (h *holder) answer(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.hung.Load() != 0:
		hang(w, r)
	case !isWait(r):
		reply(w, int(h.index.Load()), 404, noKeyAt(int(h.index.Load())))
	default:
		select {
		case e := <-h.event:
			reply(w, int(h.index.Load()), 200, e)
		case <-r.Context().Done():
		}
	}
}

func TestWatchThroughAProxyThatHoldsTheHeader(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		h := &holder{event: make(chan string)}
		h.index.Store(8)
		f := serve(t, h.answer)
		times := hasty()
		times.poll = time.Minute
		s := newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net"}, times)
		after := 5 * times.header
		timer := time.AfterFunc(after, func() {
			h.index.Store(9)
			select {
			case h.event <- event9:
			case <-t.Context().Done():
			}
		})
		defer timer.Stop()
		start := time.Now()
		e, err := watch(t.Context(), s, 8, 1)
		if err != nil || len(e) != 1 {
			t.Errorf("Watch yields %v, %v; want the event", e, err)
		}
		if d := time.Since(start) - after; d > stall {
			t.Errorf("the event is seen after %v", d)
		}
		if n := f.waits.Load(); n != 3 {
			t.Errorf("%d waits, want two that are given up and one that is not", n)
		}
		noConns(t, f)
	})
}

func TestWhoHoldsTheHeaderIsStillWatched(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		happens   func(*holder)
		compacted bool
	}{
		{"it hangs", func(h *holder) { h.hung.Store(1) }, false},
		{"the store behind it is wiped", func(h *holder) { h.index.Store(3) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				h := &holder{event: make(chan string)}
				h.index.Store(8)
				f := serve(t, h.answer)
				timer := time.AfterFunc(3*hasty().header, func() { tt.happens(h) })
				defer timer.Stop()
				start := time.Now()
				_, err := watch(t.Context(), f.store(t), 8, 1)
				if !tt.compacted {
					wantFailure(t, "Watch", err, f.URL, "timeout")
				} else if !errors.Is(err, subnet.ErrCompacted) {
					t.Errorf("Watch: %v, want ErrCompacted", err)
				}
				if d := time.Since(start); d < 3*hasty().header || d > 3*hasty().header+2*hasty().poll+hasty().call+stall {
					t.Errorf("it took %v to notice", d)
				}
			})
		})
	}
}

func TestAHungMemberEndsTheWatch(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, hang)
		start := time.Now()
		_, err := watch(t.Context(), f.store(t), 8, 1)
		wantFailure(t, "Watch", err, f.URL, "check that the host is up")
		if d := time.Since(start); d > 6*hasty().header+stall {
			t.Errorf("it took %v to notice", d)
		}
	})
}
