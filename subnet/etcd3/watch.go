package etcd3

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/wire"
)

// AwaitConfig implements subnet.Store.
func (s *Store) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	w := s.watch(s.configKey(), "", int64(after))
	defer w.close()
	var pause backoff.Backoff
	for {
		_, err := w.next(ctx)
		lost := errors.Is(err, subnet.ErrCompacted)
		if err != nil && !lost {
			return config.Document{}, err
		}
		doc, at, err := s.config(ctx)
		if !lost || err != nil || doc.Rev > after || int64(at) < w.cursor {
			return doc, err
		}
		// A busy store's history does not reach back to a document that has long
		// been there: wait from where the store is now.
		w.close()
		w.cursor = int64(at)
		if err := pause.Wait(ctx); err != nil {
			return config.Document{}, err
		}
	}
}

// Watch implements subnet.Store.
func (s *Store) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		w := s.watch(s.subnetsKey(), clientv3.GetPrefixRangeEnd(s.subnetsKey()), int64(after))
		defer w.close()
		for {
			events, err := w.next(ctx)
			if err == nil && together(events) {
				err = &etcd.Failure{Text: fmt.Sprintf("several keys below %s were deleted at once", s.subnetsKey()), Causes: []error{subnet.ErrCompacted}}
			}
			if err != nil {
				yield(subnet.Event{}, err)
				return
			}
			for _, e := range events {
				if e, ok := s.event(e); ok && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// watch returns a watch after a revision. Close it.
func (s *Store) watch(key, end string, after int64) *watch {
	return &watch{api: s.api, key: key, end: end, cursor: after, cluster: s.cluster.Load()}
}

// together reports whether one write has deleted several keys: somebody has deleted all,
// or they were tied to one etcd lease. What that means is seen by listing.
func together(events []*mvccpb.Event) bool {
	var last int64
	for _, e := range events {
		if e.Type != mvccpb.Event_DELETE {
			continue
		}
		if e.Kv.ModRevision == last {
			return true
		}
		last = e.Kv.ModRevision
	}
	return false
}

// event reads a change of one key. A key that was a lease and now holds something else is
// one that is gone.
func (s *Store) event(e *mvccpb.Event) (subnet.Event, bool) {
	if e.Type == mvccpb.Event_PUT {
		if l, ok := s.lease(e.Kv); ok {
			return subnet.Event{Lease: l}, true
		}
	}
	k, err := wire.ParseKey(string(e.Kv.Key[min(len(s.subnetsKey()), len(e.Kv.Key)):]))
	if err != nil {
		return subnet.Event{}, false
	}
	l := subnet.Lease{Rev: subnet.Revision(e.Kv.ModRevision)}
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return subnet.Event{Lease: l, Deleted: true, Unclear: e.Type == mvccpb.Event_DELETE}, true
}
