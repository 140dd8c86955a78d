package etcd3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"flanneld/subnet"
	"flanneld/subnet/etcd"
)

func TestOddAnswersAreFailures(t *testing.T) {
	t.Parallel()
	always := func(b []byte) func(string, func([]byte) error, grpc.ServerStream) error {
		return func(_ string, send func([]byte) error, _ grpc.ServerStream) error { return send(b) }
	}
	refuse := func(err error) func(string, func([]byte) error, grpc.ServerStream) error {
		return func(string, func([]byte) error, grpc.ServerStream) error { return err }
	}
	for _, tt := range []struct {
		name   string
		answer func(string, func([]byte) error, grpc.ServerStream) error
		text   string // in every method's error
	}{
		{"an empty message", always(nil), "check that --etcd-endpoints names an etcd"},
		{"no protobuf", always([]byte("\xff\xff\xff")), "check that --etcd-endpoints names an etcd"},
		{"a header without a revision", always(marshal(t, &pb.RangeResponse{Header: header(0)})), "check that --etcd-endpoints names an etcd"},
		{"no message", refuse(nil), ""},
		{"another service", refuse(status.Error(codes.Unimplemented, "unknown service etcdserverpb.KV")), "check that --etcd-endpoints names an etcd"},
		{"no leader", refuse(rpctypes.ErrGRPCNoLeader), "check the other members"},
		{"no quorum", refuse(rpctypes.ErrGRPCTimeout), "check the other members"},
		{"no user", refuse(rpctypes.ErrGRPCUserEmpty), "check --etcd-username and its password"},
		{"no right", refuse(rpctypes.ErrGRPCPermissionDenied), "check --etcd-username and its password"},
		{"no space", refuse(rpctypes.ErrGRPCNoSpace), "compact and defragment"},
		{"a deadline that the server keeps first", refuse(status.Error(codes.DeadlineExceeded, "context deadline exceeded")), "no answer in time (check that the host is up"},
		{"a stream that it ends then", refuse(status.Error(codes.Canceled, "context canceled")), "no answer in time (check that the host is up"},
		{"a text of many lines", refuse(status.Error(codes.Unavailable, "a\nb\x00"+strings.Repeat("c", 1000))), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, tt.answer)
			each(t, f.store(t), func(name string, call func(context.Context) error) {
				err := call(t.Context())
				wantFailure(t, name, err, f.url, tt.text)
				if err != nil && len(err.Error()) > 600 {
					t.Errorf("%s: an error of %d characters", name, len(err.Error()))
				}
			})
		})
	}
}

func TestNobodyThereIsAFailure(t *testing.T) {
	t.Parallel()
	const url = "http://127.0.0.1:1" // a port that nobody is given
	s := newTestStore(t, Options{Endpoints: []string{url}, Prefix: "/net"}, hasty())
	for name, call := range methods(s) {
		wantFailure(t, name, call(t.Context()), url, "connection refused (check that etcd runs there")
	}
}

// What answers is no etcd, or one of before.
func TestWhatSpeaksAnotherProtocolIsNamed(t *testing.T) {
	t.Parallel()
	web := func(version string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/version" && version != "" {
				fmt.Fprintf(w, `{"etcdserver":%q}`, version)
				return
			}
			http.NotFound(w, r)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	ssh := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("SSH-2.0-x\r\n"))
				c.Close()
			}
		}()
		return "http://" + l.Addr().String()
	}
	for _, tt := range []struct {
		name, url, text string
		lacks           bool
	}{
		{"a web server", web(""), "what answers there is no etcd", false},
		{"etcd 2.3", web("2.3.8"), "etcd 2.3.8 has no v3 API: use etcd 3.4 or later, or --etcd-api=v2", true},
		{"a proxy of HTTP/1.1", web("3.4.23"), "etcd 3.4.23 answers there, but not its v3 API", false},
		{"sshd", ssh(), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestStore(t, Options{Endpoints: []string{tt.url}, Prefix: "/net"}, hasty())
			each(t, s, func(name string, call func(context.Context) error) {
				err := call(t.Context())
				wantFailure(t, name, err, tt.url, tt.text)
				if _, lacks := errors.AsType[etcd.NoAPIError](err); lacks != tt.lacks {
					t.Errorf("%s: %v says that the API is not there: %t", name, err, lacks)
				}
			})
		})
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	f := serve(t, func(string, func([]byte) error, grpc.ServerStream) error {
		<-t.Context().Done() // the deadline of the stream's may end before the client's does
		return nil
	})
	each(t, f.store(t), func(name string, call func(context.Context) error) {
		start := time.Now()
		wantFailure(t, name, call(t.Context()), f.url, "no answer in time (check that the host is up")
		if d := time.Since(start); d > 2*hasty().call+stall {
			t.Errorf("%s took %v", name, d)
		}
	})
}

func TestAnAnswerThatIsTooLongIsLeft(t *testing.T) {
	t.Parallel()
	long := marshal(t, &pb.RangeResponse{Header: header(5), Kvs: []*mvccpb.KeyValue{{Key: []byte("/net/subnets/x"), ModRevision: 1, Value: make([]byte, maxAnswer)}}})
	f := serve(t, func(_ string, send func([]byte) error, _ grpc.ServerStream) error { return send(long) })
	times := hasty()
	times.call = time.Minute
	s := newTestStore(t, Options{Endpoints: []string{f.url}, Prefix: "/net"}, times)
	_, _, err := s.Leases(t.Context())
	wantFailure(t, "Leases", err, f.url, "the answer is too long: is there more below --etcd-prefix than leases?")
	_, err = events(t.Context(), s, 5, 1)
	wantFailure(t, "Watch", err, f.url, "the answer is too long")
	// A lease and what protobuf adds to it, in a listing.
	one := len(marshal(t, &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: []byte("/coreos.com/network/subnets/10.255.255.0-24"), Value: []byte(encoded(t, lease(1))), CreateRevision: 1 << 40, ModRevision: 1 << 40, Version: 1 << 20, Lease: 1 << 62}}}))
	if 100_000*one > maxAnswer {
		t.Errorf("a lease has %d bytes in a listing: there is no room for 100,000", one)
	}
}

// A watch whose answers are odd, in all ways that come to mind.
func TestOddAnswersOfAWatch(t *testing.T) {
	t.Parallel()
	value := encoded(t, lease(1))
	const key = "/net/subnets/10.5.1.0-24"
	answers := func(of ...*pb.WatchResponse) []*pb.WatchResponse { return of }
	events3 := func(rev int64, of ...*mvccpb.Event) *pb.WatchResponse {
		return &pb.WatchResponse{Header: header(rev), Events: of}
	}
	for _, tt := range []struct {
		name    string
		answers []*pb.WatchResponse
		lost    bool   // the error is ErrCompacted
		text    string // of the error
	}{
		{"events before it is created", answers(events3(9, put(key, value, 9))), false, "not etcd's"},
		{"no header", answers(created(9), &pb.WatchResponse{Events: []*mvccpb.Event{put(key, value, 9)}}), false, "it has no header"},
		{"an event without a key", answers(created(9), events3(9, &mvccpb.Event{})), false, "it lacks a key"},
		{"an event that is newer than the store", answers(created(9), events3(9, put(key, value, 10))), false, "a key is newer than the store"},
		{"an event of the past", answers(created(9), events3(9, put(key, value, 5))), false, "repeats an event"},
		{"events in the wrong order", answers(created(9), events3(9, put(key, value, 8), put(key, value, 7))), false, "repeats an event"},
		{"another cluster", answers(created(9), &pb.WatchResponse{Header: &pb.ResponseHeader{ClusterId: 7, Revision: 9}}), true, "another etcd cluster"},
		{"compacted", answers(created(9), &pb.WatchResponse{Header: header(9), Canceled: true, CompactRevision: 8}), true, "compacted"},
		{"behind", answers(created(4)), true, "was it wiped, or restored?"},
		{"behind later", answers(created(9), events3(4)), true, "was it wiped, or restored?"},
		{"no right", answers(&pb.WatchResponse{Header: header(9), Created: true, Canceled: true, CancelReason: "rpc error: code = PermissionDenied desc = etcdserver: permission denied"}), false, "check --etcd-username"},
		{"ended without a reason", answers(created(9), &pb.WatchResponse{Header: header(9), Canceled: true}), false, "the watch was ended"},
		{"ended with a reason", answers(created(9), &pb.WatchResponse{Header: header(9), Canceled: true, CancelReason: "the\nmoon"}), false, "the watch was ended: the moon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, func(method string, send func([]byte) error, stream grpc.ServerStream) error {
				if method != "Watch" {
					return send(marshal(t, &pb.RangeResponse{Header: header(4)}))
				}
				for _, a := range tt.answers {
					if err := send(marshal(t, a)); err != nil {
						return err
					}
				}
				<-stream.Context().Done()
				return nil
			})
			s := f.store(t)
			s.cluster.Store(1)
			_, err := events(t.Context(), s, 5, 1)
			if errors.Is(err, subnet.ErrCompacted) != tt.lost || err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Watch: %v, want %q", err, tt.text)
			}
			if n := f.count("Watch"); n > 4 {
				t.Errorf("it is begun %d times", n)
			}
		})
	}
}

func TestAWatchThatNeverStopsToSayNothingIsLeft(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	f := serve(t, func(_ string, send func([]byte) error, _ grpc.ServerStream) error {
		if err := send(marshal(t, created(9))); err != nil {
			return err
		}
		for nothing := marshal(t, &pb.WatchResponse{Header: header(9)}); ; sent.Add(1) {
			if err := send(nothing); err != nil {
				return err
			}
		}
	})
	s := f.store(t)
	_, err := events(t.Context(), s, 5, 1)
	wantFailure(t, "Watch", err, f.url, "says again and again that nothing happens")
	t.Logf("%d were sent, on %d streams", sent.Load(), f.count("Watch"))
}

// One key was asked for, and others come.
func TestOtherKeysThanAskedFor(t *testing.T) {
	t.Parallel()
	kv := &mvccpb.KeyValue{Key: []byte("/elsewhere"), Value: []byte("x"), ModRevision: 4}
	f := serve(t, func(method string, send func([]byte) error, _ grpc.ServerStream) error {
		switch method {
		case "Range":
			return send(marshal(t, &pb.RangeResponse{Header: header(9), Kvs: []*mvccpb.KeyValue{kv}}))
		case "LeaseGrant":
			return rpctypes.ErrGRPCLeaseExist
		}
		return send(marshal(t, &pb.TxnResponse{Header: header(9), Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{kv}}}}}}))
	})
	s := f.store(t)
	for name, call := range methods(s) {
		switch name {
		case "Watch", "AwaitConfig":
		case "Leases":
			if all, _, err := s.Leases(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("Leases = %v, %v", all, err)
			}
		default:
			wantFailure(t, name, call(t.Context()), f.url, "it is of another key")
		}
	}
}
