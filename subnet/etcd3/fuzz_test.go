package etcd3

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// FuzzLeases reads a listing from any bytes. What is read is read as it would be written.
func FuzzLeases(f *testing.F) {
	f.Add(marshal(f, &pb.RangeResponse{Header: header(9), Kvs: []*mvccpb.KeyValue{
		put("/net/subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VNI":1}}`, 4).Kv,
		put("/net/subnets/10.5.2.0-24&fd00::-64", `{"PublicIP":"192.0.2.2","PublicIPv6":"fd01::1"}`, 5).Kv,
		put("/net/subnets/x", "", 6).Kv, put("/net/config", "{}", 7).Kv, {},
	}}))
	f.Add(marshal(f, &pb.RangeResponse{Header: header(-1)}))
	f.Add([]byte("<html>"))
	s := newTestStore(f, Options{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: "/net", Log: slog.New(slog.DiscardHandler)}, hasty())
	f.Fuzz(func(t *testing.T, data []byte) {
		var r pb.RangeResponse
		if proto.Unmarshal(data, &r) != nil || sound(r.Header, r.Kvs...) != nil {
			return
		}
		for _, kv := range r.Kvs {
			l, ok := s.lease(kv)
			if !ok {
				continue
			}
			value, err := wire.Encode(l)
			if err != nil {
				t.Errorf("%v cannot be written: %v", l, err)
				continue
			}
			again, err := wire.Decode(wire.Key(l.Key()), value)
			if again.Expires, again.Rev = l.Expires, l.Rev; err != nil || !reflect.DeepEqual(again, l) {
				t.Errorf("%v is written as %s and read as %v, %v", l, value, again, err)
			}
			if l.Rev == 0 || int64(l.Rev) > r.Header.Revision || l.Reserved() != (kv.Lease == 0) {
				t.Errorf("%+v of %v in a store at %d", l, kv, r.Header.Revision)
			}
		}
	})
}

// FuzzEvents reads a watch's answer from any bytes. What is yielded is a lease that can be
// written, or a key that can be parsed, in the order of revisions; a failure is one line.
func FuzzEvents(f *testing.F) {
	value := `{"PublicIP":"192.0.2.1"}`
	gone := &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("/net/subnets/10.5.1.0-24"), ModRevision: 8}}
	f.Add(int64(5), uint64(1), marshal(f, &pb.WatchResponse{Header: header(9), Events: []*mvccpb.Event{put("/net/subnets/10.5.1.0-24", value, 7), gone}}))
	f.Add(int64(5), uint64(2), marshal(f, &pb.WatchResponse{Header: header(9)}))
	f.Add(int64(5), uint64(0), marshal(f, &pb.WatchResponse{Header: header(9), Canceled: true, CancelReason: "a\ndesc = \n"}))
	f.Add(int64(5), uint64(0), marshal(f, &pb.WatchResponse{Header: header(9), Events: []*mvccpb.Event{put("/net/subnets/10.5.1.0-24", "junk", 7), {Type: 7}}}))
	s := newTestStore(f, Options{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: "/net", Log: slog.New(slog.DiscardHandler)}, hasty())
	f.Fuzz(func(t *testing.T, cursor int64, cluster uint64, data []byte) {
		var r pb.WatchResponse
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		all, err := judge(&r, cursor, cluster)
		if err != nil {
			if !errors.Is(err, subnet.ErrCompacted) && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 300) {
				t.Errorf("%q is not one short line", err)
			}
			return
		}
		last := cursor
		_ = together(all)
		for _, e := range all {
			got, ok := s.event(e)
			if !ok {
				continue
			}
			if int64(got.Lease.Rev) < last {
				t.Errorf("an event of %d comes after one of %d", got.Lease.Rev, last)
			}
			last = int64(got.Lease.Rev)
			if k, err := wire.ParseKey(wire.Key(got.Lease.Key())); err != nil || k != got.Lease.Key() {
				t.Errorf("%+v: %v", got, err)
			}
			if _, err := wire.Encode(got.Lease); !got.Deleted && err != nil {
				t.Errorf("%+v cannot be written: %v", got, err)
			}
		}
	})
}
