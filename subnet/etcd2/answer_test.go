package etcd2

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/wire"
)

func TestOddAnswersAreFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		text   string // in every method's error
	}{
		{"an empty object", func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, "{}") }, "check that --etcd-endpoints names an etcd"},
		{"an empty node", func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, `{"node":{}}`) }, "etcd at http://"},
		{"an empty body", func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, "") }, ""},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>Log in</html>")) }, "what answers there is no etcd"},
		{"no such page", http.NotFound, "what answers there is no etcd"},
		{"no leader", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "check the other members"},
		{"a bad gateway", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "Bad Gateway"},
		{"no password", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 0, 401, `{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}`)
		}, "check --etcd-username and its password"},
		{"no password, of etcd 2.1", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			w.Write([]byte(`{"message":"Insufficient credentials"}`))
		}, "check --etcd-username"},
		{"half a body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			reply(w, 5, 200, someNode)
		}, "EOF"},
		{"nothing", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+r.URL.String(), http.StatusTemporaryRedirect)
		}, "redirect"},
		{"a bad index", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Etcd-Index", "x")
			w.Write([]byte(someNode))
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, tt.answer)
				together(methods(f.store(t)), func(name string, call func(context.Context) error) {
					wantFailure(t, name, call(t.Context()), f.URL, tt.text)
				})
			})
		})
	}
}

func TestRedirectsAreFew(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+r.URL.String(), http.StatusTemporaryRedirect)
		})
		if _, err := f.store(t).Config(t.Context()); err == nil {
			t.Error("there is a configuration")
		}
		if n := f.others.Load(); n > maxRedirects+1 {
			t.Errorf("%d requests of one call", n)
		}
	})
}

func TestNobodyThereIsAFailure(t *testing.T) {
	t.Parallel()
	const url = "http://127.0.0.1:1" // a port that nobody is given
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, hasty())
	for name, call := range methods(s) {
		wantFailure(t, name, call(t.Context()), url, "connection refused (check that etcd runs there")
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		text   string
	}{
		{"no header", hang, "timeout awaiting response headers"},
		{"no body", quiet(5), "no answer in time (800ms)"},
		{"a byte now and then", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		}, "no answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, tt.answer)
				together(methods(f.store(t)), func(name string, call func(context.Context) error) {
					if tt.name != "no header" && (name == "Watch" || name == "AwaitConfig") {
						return // that is what a wait looks like
					}
					start := time.Now()
					wantFailure(t, name, call(t.Context()), f.URL, tt.text)
					if d := time.Since(start); d > 2*hasty().call+stall {
						t.Errorf("%s took %v", name, d)
					}
				})
			})
		})
	}
}

// What answers can be anything, and send for ever.
func TestAnAnswerWithoutAnEndIsLeft(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	f := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Index", "5")
		text := []byte(`{"node":{"value":"` + strings.Repeat("x", 1<<20))
		for {
			n, err := w.Write(text)
			sent.Add(int64(n))
			if err != nil {
				return
			}
			text = text[len(text)-1<<20:]
		}
	})
	times := hasty()
	times.call = time.Minute
	s := newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net"}, times)
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, f.URL, "the answer is too long: is there more below --etcd-prefix than leases?")
	if n := sent.Load(); n > maxBody+16<<20 { // what buffers hold
		t.Errorf("%d MiB were taken", n>>20)
	}
	if one := len(nodeOf(t)) + 1; 50_000*one > maxBody {
		t.Errorf("a lease has %d bytes in a listing: there is no room for 50,000", one)
	}
}

// nodeOf returns a long lease of ours as etcd lists it.
func nodeOf(t *testing.T) []byte {
	t.Helper()
	l := lease(100)
	l.Node = strings.Repeat("f", 32)
	l.V4.Data = `{"VNI":4096,"VtepMAC":"02:00:00:00:00:77"}`
	l.V6 = subnet.Claim{Subnet: netip.MustParsePrefix("fd00:100:0:1000::/64"), PublicIP: netip.MustParseAddr("2001:db8:0:1:2:3:4:5"), Data: l.V4.Data}
	value, err := wire.Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now()
	b, err := json.Marshal(client.Node{Key: "/coreos.com/network/subnets/" + wire.Key(l.Key()), Value: value, Expiration: &end, TTL: 86400, ModifiedIndex: 1e9, CreatedIndex: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDefaultsLeaveTimeForAThirdMember(t *testing.T) {
	t.Parallel()
	d := defaults(0)
	if 2*d.header >= d.call || 2*d.dial >= d.call {
		t.Errorf("two members that hang take all of a call's %v", d.call)
	}
	if got := defaults(time.Minute).call; got != time.Minute {
		t.Errorf("call = %v, want what the options say", got)
	}
}

func TestAHungMemberIsLeftForAnother(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		hung := serve(t, hang)
		good := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if isWait(r) {
				reply(w, 9, 200, `{"action":"set","node":{"key":"/net/subnets/10.5.1.0-24","value":"{\"PublicIP\":\"192.0.2.1\"}","modifiedIndex":9}}`)
				return
			}
			reply(w, 5, 200, someNode)
		})
		// The client asks in an order of the clock.
		for deadline := time.Now().Add(20 * time.Second); hung.others.Load() < 2 || hung.waits.Load() < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the hung member is never asked")
			}
			s := newTestStore(t, Options{Endpoints: []string{hung.URL, good.URL}, Prefix: "/net"}, hasty())
			if _, err := s.Config(t.Context()); err != nil {
				t.Fatalf("Config: %v", err)
			}
			asked := hung.others.Load()
			if _, err := s.Config(t.Context()); err != nil || hung.others.Load() != asked {
				t.Errorf("Config asks the hung member again: %v", err)
			}
			if e, err := watch(t.Context(), s, 5, 1); err != nil || len(e) != 1 {
				t.Errorf("Watch yields %v, %v", e, err)
			}
		}
	})
}

func TestReadsAreQuorumReads(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Query().Get("quorum") != "true" && !isWait(r) {
				t.Errorf("GET %v is not a quorum read", r.URL)
			}
			if r.Method == http.MethodPut {
				reply(w, 5, 412, `{"errorCode":101,"message":"Compare failed","cause":"[5 != 6]","index":6}`)
				return
			}
			reply(w, 6, 200, strings.ReplaceAll(someNode, "5", "6"))
		})
		for name, call := range methods(f.store(t)) {
			if name != "Watch" {
				call(t.Context())
			}
		}
		if n := f.others.Load(); n < 7 {
			t.Errorf("%d requests, want two for Renew and one for each other", n)
		}
	})
}

func TestEndedContextsSendNothing(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 5, 200, someNode) })
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("a cause of the caller's"))
		for name, call := range methods(f.store(t)) {
			if err := call(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", name, err)
			}
		}
		if n := f.others.Load() + f.waits.Load(); n != 0 {
			t.Errorf("%d requests, want none", n)
		}
	})
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{"no header": hang, "no body": quiet(5)} {
		t.Run(name, func(t *testing.T) {
			onFakeTime(t, func(t *testing.T) {
				f := serve(t, answer)
				times := hasty()
				times.call, times.header, times.poll = time.Minute, time.Minute, time.Minute
				s := newTestStore(t, Options{Endpoints: []string{f.URL}, Prefix: "/net"}, times)
				for name, call := range methods(s) {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					start := time.Now()
					err := call(ctx)
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %v, want context.DeadlineExceeded", name, err)
					}
					if waits := name == "Watch" || name == "AwaitConfig"; !waits && (!strings.Contains(err.Error(), f.URL) || !strings.Contains(err.Error(), "check that")) {
						t.Errorf("%s: %v, want the endpoint and a remedy", name, err)
					}
					cancel()
					if d := time.Since(start); d >= times.call/2 {
						t.Errorf("%s took %v to end with its context", name, d)
					}
				}
				s.api.transport.CloseIdleConnections()
				noConns(t, f)
			})
		})
	}
}

// noConns checks that all connections to a server are closed, soon.
func noConns(t *testing.T, f *fake) {
	t.Helper()
	for deadline := time.Now().Add(2*time.Second + stall); f.conns.Load() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d connections are left open", f.conns.Load())
			return
		}
	}
}

func TestExplainNamesEveryEndpointInOneLine(t *testing.T) {
	t.Parallel()
	s := newTestStore(t, Options{Endpoints: []string{"http://a:1", "http://b:2"}, Access: etcd.Access{Username: "u", Password: func() string { return "secret" }}}, hasty())
	inner := errors.New("EOF")
	err := s.api.explain(t.Context(), &client.ClusterError{Errors: []error{
		&etcd.EndpointError{Endpoint: "http://a:1", Err: errors.New("dial tcp a:1: connect: connection refused")},
		&etcd.EndpointError{Endpoint: "http://b:2", Err: inner},
	}})
	want := "client: etcd cluster is unavailable or misconfigured; error #0: dial tcp a:1: connect: connection refused ; error #1: http://b:2: EOF " +
		"(check that etcd runs there and listens on this address; if etcd is up: http:// to a TLS port, or https:// to a plain one?)"
	if err.Error() != want || !errors.Is(err, inner) {
		t.Errorf("error is\n%v, want\n%v", err, want)
	}
	if s.api.explain(t.Context(), nil) != nil {
		t.Error("nil is explained")
	}
}

func TestConfigPrintsEtcdsOwnError(t *testing.T) {
	onFakeTime(t, func(t *testing.T) {
		f := serve(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 7, 404, noKeyAt(7)) })
		d, err := f.store(t).Config(t.Context())
		if !errors.Is(err, config.ErrNone) || err.Error() != "100: Key not found (/net) [7]" || d.Rev != 7 {
			t.Errorf("Config at %d: %v", d.Rev, err)
		}
	})
}
