package etcd3

import (
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"flanneld/pkg/words"
	"flanneld/subnet"
	"flanneld/subnet/etcd"
)

var (
	errSilent   = errors.New("the watch is not answered")
	errEnded    = errors.New("the watch was ended")
	errNoHeader = fmt.Errorf("%w: it has no header", errNotEtcd)
	errOther    = fmt.Errorf("%w: it is of another key", errNotEtcd)
	errFlood    = fmt.Errorf("%w: the watch says again and again that nothing happens", errNotEtcd)
	errNoKey    = fmt.Errorf("%w: it lacks a key", errNotEtcd)
	errAhead    = fmt.Errorf("%w: a key is newer than the store", errNotEtcd)
	errRepeat   = errors.New("etcd, or something before it, repeats an event")
	errFuture   = errors.New("etcd is behind what it told before: was it wiped, or restored?")
	errCluster  = errors.New("another etcd cluster answers than before")
)

// sound looks at what every answer has: a header and keys that are not newer than it.
func sound(h *pb.ResponseHeader, keys ...*mvccpb.KeyValue) error {
	if h.GetRevision() <= 0 {
		return errNoHeader
	}
	for _, kv := range keys {
		switch {
		case len(kv.GetKey()) == 0:
			return errNoKey
		case kv.ModRevision <= 0 || kv.ModRevision > h.Revision:
			return errAhead
		}
	}
	return nil
}

// judge looks at a watch's answer, and returns its events. The cursor is the revision that
// was dealt with, the cluster the one that this was in; zero: not known.
func judge(r *pb.WatchResponse, cursor int64, cluster uint64) ([]*mvccpb.Event, error) {
	h := r.GetHeader()
	switch {
	case r.GetCompactRevision() > 0:
		return nil, fmt.Errorf("%w: %w", subnet.ErrCompacted, rpctypes.ErrCompacted)
	case r.GetCanceled():
		return nil, ended(r.CancelReason)
	case h.GetRevision() <= 0:
		return nil, errNoHeader
	case cluster != 0 && h.ClusterId != cluster:
		return nil, fmt.Errorf("%w: %w", subnet.ErrCompacted, errCluster)
	}
	for _, e := range r.Events {
		switch kv := e.GetKv(); {
		case len(kv.GetKey()) == 0:
			return nil, errNoKey
		case kv.ModRevision > h.Revision:
			return nil, errAhead
		case kv.ModRevision < cursor, kv.ModRevision == cursor && e == r.Events[0]: // one write may change several keys
			return nil, errRepeat
		default:
			cursor = kv.ModRevision
		}
	}
	return r.Events, nil
}

// ended returns etcd's own error for the reason why it ended a watch.
func ended(reason string) error {
	text := reason
	if _, after, ok := strings.Cut(reason, "desc = "); ok {
		text = after
	}
	if text == "" {
		return errEnded
	}
	err := rpctypes.Error(status.Error(codes.Unknown, text))
	if _, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return err
	}
	return fmt.Errorf("%w: %s", errEnded, words.Clip(etcd.Line(text)))
}
