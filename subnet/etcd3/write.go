package etcd3

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

// writer writes a key on a condition, and finds out what was done if an answer is
// lost. It does not know what the value means. Safe for concurrent use.
type writer struct {
	api    *api
	grants *grants
}

func newWriter(a *api) *writer { return &writer{a, newGrants(a)} }

// entry is a key, the value that it is to hold, the node id of who keeps it, and its ttl.
type entry struct {
	key, value, node string
	ttl              time.Duration
}

// tries is how often it is found out what became of a refused write, before that is
// left to the caller.
const tries = 3

// errUnsettled: the key was ours each time that it was read, and the write after that
// was refused.
var errUnsettled = errors.New("the key is this host's, and a write is refused again and again: does somebody else write it all the time?")

// create makes a key. One that is there and holds exactly our value is ours: the write
// was done by a try whose answer was lost.
func (w *writer) create(ctx context.Context, e entry) (*mvccpb.KeyValue, error) {
	kv, err := w.over(ctx, e, nil)
	return w.settle(ctx, e, kv, err, subnet.ErrTaken, 0)
}

// replace writes over a key that is as it was at a revision, or holds our value since:
// then an earlier try has done it.
func (w *writer) replace(ctx context.Context, e entry, at int64, was func(*mvccpb.KeyValue) bool) (*mvccpb.KeyValue, error) {
	found, err := w.read(ctx, e.key)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, subnet.ErrLost
	case was(found):
		found, err = w.over(ctx, e, found)
	default:
		err = errChanged
	}
	return w.settle(ctx, e, found, err, subnet.ErrLost, at)
}

// errChanged: the key is not what the write was to be done over.
var errChanged = errors.New("the key has changed")

// settle returns a write's result unless the key had changed. Then kv is what it holds
// instead: if that is our value since a revision, it is to have all of the ttl.
func (w *writer) settle(ctx context.Context, e entry, kv *mvccpb.KeyValue, err, refused error, since int64) (*mvccpb.KeyValue, error) {
	for range tries {
		switch {
		case !errors.Is(err, errChanged):
			return kv, err
		case kv == nil && !errors.Is(refused, subnet.ErrTaken):
			return nil, refused
		case kv != nil && (string(kv.Value) != e.value || kv.ModRevision <= since):
			return nil, refused
		case kv != nil && kv.Lease == 0: // it is a reservation
			return kv, nil
		}
		if kv != nil {
			if _, ok, err := w.tied(ctx, e, kv); ok || err != nil {
				return kv, err
			}
		}
		kv, err = w.over(ctx, e, kv)
	}
	return nil, errUnsettled
}

// refresh gives a key that holds our value a new ttl, and reports whether no watcher was
// woken.
func (w *writer) refresh(ctx context.Context, e entry) (*mvccpb.KeyValue, bool, error) {
	for range tries {
		kv, err := w.read(ctx, e.key)
		switch {
		case err != nil:
			return nil, false, err
		case kv == nil || string(kv.Value) != e.value:
			return nil, false, subnet.ErrLost
		case kv.Lease == 0: // somebody has made a reservation of it, and it must not expire
			return kv, true, nil
		}
		if _, ok, err := w.tied(ctx, e, kv); ok || err != nil {
			w.grants.tie(e.key, e.node)
			return kv, true, err
		}
		if kv, err = w.over(ctx, e, kv); !errors.Is(err, errChanged) {
			return kv, false, err
		}
	}
	return nil, false, errUnsettled
}

// delete removes a key that is as it was.
func (w *writer) delete(ctx context.Context, key, node string, was func(*mvccpb.KeyValue) bool) error {
	kv, err := w.read(ctx, key)
	switch {
	case err != nil || kv == nil:
		return err
	case !was(kv):
		return subnet.ErrLost
	}
	left, err := w.swap(ctx, key, kv, clientv3.OpDelete(key))
	switch {
	case err == nil || errors.Is(err, errChanged) && left == nil:
		if w.grants.ours(kv.Lease, node) {
			w.grants.revoke(ctx, kv.Lease)
		}
		return nil
	case errors.Is(err, errChanged):
		return subnet.ErrLost
	}
	return err
}

// tied gives a key's etcd lease all of its time again, and reports whether it is one of
// this host's that lives as long as was asked for.
func (w *writer) tied(ctx context.Context, e entry, kv *mvccpb.KeyValue) (grant, bool, error) {
	if e.ttl == 0 || !w.grants.ours(kv.Lease, e.node) {
		return grant{}, false, nil
	}
	g, err := w.grants.keep(ctx, kv.Lease, e.key)
	if apiError(err, rpctypes.ErrLeaseNotFound) { // it has ended, and its keys will, if they have not
		return grant{}, false, nil
	}
	return g, g.asked == e.ttl, err
}

// over writes the entry over what was found; nil: there was no key. The error is
// errChanged if something else is there now, which is returned.
func (w *writer) over(ctx context.Context, e entry, found *mvccpb.KeyValue) (*mvccpb.KeyValue, error) {
	var g grant
	var kept bool
	var err error
	if found != nil {
		g, kept, err = w.tied(ctx, e, found)
	}
	if err == nil && !kept && e.ttl > 0 {
		g, err = w.grants.make(ctx, e.node, e.ttl)
	}
	if err != nil {
		return nil, err
	}
	if e.ttl == 0 {
		g = grant{}
	}
	now, err := w.swap(ctx, e.key, found, clientv3.OpPut(e.key, e.value, clientv3.WithLease(clientv3.LeaseID(g.id))))
	since := int64(0)
	if found != nil {
		since = found.ModRevision
	}
	isIt := func(kv *mvccpb.KeyValue) bool {
		return kv != nil && string(kv.Value) == e.value && kv.Lease == g.id && kv.ModRevision > since
	}
	switch {
	case err == nil:
		now = &mvccpb.KeyValue{Key: []byte(e.key), Value: []byte(e.value), Lease: g.id, ModRevision: now.ModRevision}
	case errors.Is(err, errChanged) && isIt(now): // a try before the last
		err = nil
	case errors.Is(err, errChanged):
		if !kept && g.id != 0 {
			w.grants.revoke(ctx, g.id)
		}
		return now, err
	default:
		// Whether a try was done is not known. It can be seen, if it was.
		if !refused(err) && backoff.Sleep(ctx, w.api.times.pause) != nil {
			return nil, err
		}
		now, bad := w.read(ctx, e.key)
		if bad == nil && isIt(now) {
			return now, nil
		}
		if bad == nil && refused(err) && !kept && g.id != 0 { // the permission lacks, say, and will again
			w.grants.revoke(ctx, g.id)
		}
		return nil, err
	}
	if g.id != 0 {
		w.grants.tie(e.key, e.node)
	}
	if found != nil && found.Lease != g.id && w.grants.ours(found.Lease, e.node) {
		w.grants.revoke(ctx, found.Lease) // no key needs it any more
	}
	return now, nil
}

// read returns what a key holds; nil: there is none.
func (w *writer) read(ctx context.Context, key string) (*mvccpb.KeyValue, error) {
	r, err := w.api.get(ctx, key)
	if err != nil || len(r.Kvs) == 0 {
		return nil, err
	}
	return r.Kvs[0], nil
}

// swap does one thing if a key is as it was found, by revision and by value. Otherwise the
// error is errChanged, and what is there now is returned.
func (w *writer) swap(ctx context.Context, key string, found *mvccpb.KeyValue, do clientv3.Op) (*mvccpb.KeyValue, error) {
	is := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}
	if found != nil {
		// A store that was wiped or restored gives out a revision a second time.
		is = []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(key), "=", found.ModRevision),
			clientv3.Compare(clientv3.Value(key), "=", string(found.Value)),
		}
	}
	var now *mvccpb.KeyValue
	var done bool
	err := w.api.ask(ctx, func(ctx context.Context, m *member) error {
		r, err := m.kv.Txn(ctx).If(is...).Then(do).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		if done = r.Succeeded; done {
			now = &mvccpb.KeyValue{ModRevision: r.Header.GetRevision()}
			return sound(r.Header)
		}
		if len(r.Responses) != 1 || r.Responses[0].GetResponseRange() == nil {
			return errNotEtcd
		}
		now = nil
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			if now = kvs[0]; string(now.GetKey()) != key {
				return errOther
			}
			return sound(r.Header, now)
		}
		return sound(r.Header)
	})
	if err == nil && !done {
		err = errChanged
	}
	return now, err
}

// stamp adds to a lease what its key knows.
func (w *writer) stamp(l subnet.Lease, kv *mvccpb.KeyValue) subnet.Lease {
	l.Rev = subnet.Revision(kv.ModRevision)
	l.Expires = w.grants.expires(string(kv.Key), kv.Lease, owner(l))
	return l
}
