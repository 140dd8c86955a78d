package etcd3

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"flanneld/subnet"
)

// hasty is the timing for servers that misbehave.
func hasty() timing {
	return timing{
		call: 800 * time.Millisecond, dial: 300 * time.Millisecond, answer: 300 * time.Millisecond,
		quiet: 300 * time.Millisecond, soon: 200 * time.Millisecond, pause: 20 * time.Millisecond,
	}
}

// frames passes bytes through as they are.
type frames struct{}

func (frames) Name() string { return "proto" }
func (frames) Marshal(v any) ([]byte, error) {
	return *v.(*[]byte), nil
}
func (frames) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// fake is a server that answers what no etcd should: the frames that are sent to a method
// by its name, until send fails or it returns.
type fake struct {
	url   string
	calls sync.Map // *atomic.Int32 by method
}

func serve(t testing.TB, answer func(method string, send func([]byte) error, stream grpc.ServerStream) error) *fake {
	t.Helper()
	f := new(fake)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + l.Addr().String()
	server := grpc.NewServer(grpc.ForceServerCodec(frames{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		method = method[strings.LastIndex(method, "/")+1:]
		n, _ := f.calls.LoadOrStore(method, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		return answer(method, func(b []byte) error { return stream.SendMsg(&b) }, stream)
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return f
}

func (f *fake) count(method string) int32 {
	n, ok := f.calls.Load(method)
	if !ok {
		return 0
	}
	return n.(*atomic.Int32).Load()
}

func (f *fake) store(t testing.TB) *Store {
	t.Helper()
	return newTestStore(t, Options{Endpoints: []string{f.url}, Prefix: "/net"}, hasty())
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func header(rev int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: rev, RaftTerm: 1}
}

func created(rev int64) *pb.WatchResponse {
	return &pb.WatchResponse{Header: header(rev), Created: true}
}

func put(key, value string, rev int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev, CreateRevision: rev, Version: 1}}
}

// methods calls each method of a store, as its name is.
func methods(s *Store) map[string]func(context.Context) error {
	l := lease(1)
	l.Rev = 5
	return map[string]func(context.Context) error{
		"Config":      func(ctx context.Context) error { _, err := s.Config(ctx); return err },
		"AwaitConfig": func(ctx context.Context) error { _, err := s.AwaitConfig(ctx, 5); return err },
		"Leases":      func(ctx context.Context) error { _, _, err := s.Leases(ctx); return err },
		"Create":      func(ctx context.Context) error { _, err := s.Create(ctx, l, time.Hour); return err },
		"Renew":       func(ctx context.Context) error { _, err := s.Renew(ctx, l, l, time.Hour); return err },
		"Refresh":     func(ctx context.Context) error { _, _, err := s.Refresh(ctx, l, time.Hour); return err },
		"Delete":      func(ctx context.Context) error { return s.Delete(ctx, l) },
		"Watch":       func(ctx context.Context) error { _, err := events(ctx, s, 5, 1); return err },
	}
}

// events collects n events, or what comes before an error.
func events(ctx context.Context, s *Store, after subnet.Revision, n int) (got []subnet.Event, err error) {
	for e, err := range s.Watch(ctx, after) {
		if err != nil {
			return got, err
		}
		if got = append(got, e); len(got) == n {
			return got, nil
		}
	}
	return got, errors.New("the watch ended without an error")
}

// each calls all methods at the same time.
func each(t *testing.T, s *Store, f func(name string, call func(context.Context) error)) {
	t.Helper()
	var g sync.WaitGroup
	for name, call := range methods(s) {
		g.Go(func() { f(name, call) })
	}
	g.Wait()
}
