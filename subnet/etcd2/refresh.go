package etcd2

import (
	"context"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/etcd"
)

// refresh gives a key a new ttl without waking its watchers, and reports whether that
// was possible. Etcd before 2.3 does not know what a refresh is and would take it for a
// write of an empty value.
//
// Its conditions are the value and the index. The value alone would do for the
// owner, but a member that hangs can carry out what it was sent after others have
// carried out what was sent later, and with it comes the expiry of the time when
// it was sent: the key would be gone before its holder thinks so.
func (w *writer) refresh(ctx context.Context, e entry, at uint64, ttl time.Duration) (*client.Node, bool, error) {
	n, quiet, err := w.refreshAt(ctx, e, at, ttl)
	// The key is ours at another index if an answer was lost, if the client's second
	// try was the one that was answered, or if somebody has given it another ttl.
	for range tries {
		if _, no := apiError(err, client.ErrorCodeTestFailed); !no {
			break
		}
		var r *client.Response
		if r, err = w.api.get(ctx, e.key, false); err == nil && (r.Node.Dir || r.Node.Value != e.value) {
			err = subnet.ErrLost
		}
		if err == nil {
			n, quiet, err = w.refreshAt(ctx, e, r.Node.ModifiedIndex, ttl)
		}
	}
	return n, quiet, outcome(err, subnet.ErrLost)
}

// refreshAt returns the node as it is in the end, and whether no watcher was woken.
func (w *writer) refreshAt(ctx context.Context, e entry, at uint64, ttl time.Duration) (*client.Node, bool, error) {
	quiet := w.refreshes(ctx)
	o := &client.SetOptions{PrevExist: client.PrevExist, PrevValue: e.value, PrevIndex: at, TTL: ttl, Refresh: quiet}
	sent := e.value
	if quiet {
		sent = ""
	}
	r, err := w.api.put(ctx, e.key, sent, o)
	if _, no := apiError(err, client.ErrorCodeTestFailed); no {
		n, err := w.fill(ctx, e, ttl, err)
		return n, false, err
	}
	switch {
	case err != nil:
		return nil, false, err
	case quiet && r.Node.Value != e.value:
		n, err := w.writeBack(ctx, e, r.Node.ModifiedIndex, ttl)
		return n, false, err
	case r.PrevNode != nil && r.PrevNode.Expiration == nil:
		// Somebody has made a reservation of it, and it must not expire.
		n, err := w.set(ctx, e, &client.SetOptions{PrevIndex: r.Node.ModifiedIndex})
		return n, false, err
	}
	return r.Node, quiet, nil
}

// fill writes a value to a key that holds nothing, which only a refresh of ours
// can have made it hold, whose answer was lost. It returns the refusal if the key
// holds something.
func (w *writer) fill(ctx context.Context, e entry, ttl time.Duration, refusal error) (*client.Node, error) {
	r, err := w.api.get(ctx, e.key, false)
	if err != nil {
		return nil, err
	}
	if r.Node.Dir || r.Node.Value != "" {
		return nil, refusal
	}
	return w.writeBack(ctx, e, r.Node.ModifiedIndex, ttl)
}

// writeBack undoes what a refresh did to a key at an index.
func (w *writer) writeBack(ctx context.Context, e entry, at uint64, ttl time.Duration) (*client.Node, error) {
	if w.noRefresh.CompareAndSwap(false, true) {
		// What answered /version and what took the write are not the same.
		w.log.Error("etcd treated a refresh as an empty write; the lease is written back, and from now on it is written instead of refreshed. "+
			"Are there members older than 2.3, or a proxy that changes what it passes on?", "key", e.key)
	}
	return w.set(ctx, e, &client.SetOptions{PrevIndex: at, TTL: ttl})
}

// refreshes reports whether all members of the cluster are known to know
// refreshes. To write instead is right everywhere, so it is no error if that
// cannot be found out: a proxy may pass on nothing but the keys.
func (w *writer) refreshes(ctx context.Context) bool {
	if w.noRefresh.Load() || ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, w.api.call/4) // the write needs the rest
	defer cancel()
	v, err := w.api.client.GetVersion(ctx)
	// The cluster's version is that of its oldest member.
	return err == nil && etcd.AtLeast(v.Cluster, 2, 3)
}
