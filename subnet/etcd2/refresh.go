package etcd2

import (
	"context"

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
func (w *writer) refresh(ctx context.Context, e entry, at uint64) (*client.Node, bool, error) {
	n, quiet, err := w.refreshAt(ctx, e, at)
	n, err = w.complete(ctx, e, n, err, subnet.ErrLost, func(n *client.Node) (*client.Node, error) {
		switch n.Value {
		case e.value:
			// The key is ours at another index if an answer was lost, if the client's second
			// try was the one that was answered, or if somebody has given it another ttl.
			n, quiet, err = w.refreshAt(ctx, e, n.ModifiedIndex)
			return n, err
		case "": // only a refresh of ours can have made that, whose answer was lost
			quiet = false
			return w.writeBack(ctx, e, n.ModifiedIndex)
		}
		return nil, subnet.ErrLost
	})
	return n, quiet, err
}

// refreshAt returns the node as it is in the end, and whether no watcher was woken.
func (w *writer) refreshAt(ctx context.Context, e entry, at uint64) (*client.Node, bool, error) {
	quiet := w.refreshes(ctx)
	o := &client.SetOptions{PrevExist: client.PrevExist, PrevValue: e.value, PrevIndex: at, TTL: e.ttl, Refresh: quiet}
	sent := e.value
	if quiet {
		sent = ""
	}
	r, err := w.api.put(ctx, e.key, sent, o)
	if err != nil {
		return nil, false, err
	}
	n := r.Node
	switch {
	case quiet && n.Value != e.value:
		quiet = false
		n, err = w.writeBack(ctx, e, n.ModifiedIndex)
	case r.PrevNode != nil && r.PrevNode.Expiration == nil:
		// Somebody has made a reservation of it, and it must not expire.
		quiet, e.ttl = false, 0
		n, err = w.set(ctx, e, client.SetOptions{PrevIndex: n.ModifiedIndex, PrevValue: n.Value})
	}
	return n, quiet, err
}

// writeBack undoes what a refresh did to a key at an index.
func (w *writer) writeBack(ctx context.Context, e entry, at uint64) (*client.Node, error) {
	if w.noRefresh.CompareAndSwap(false, true) {
		// What answered /version and what took the write are not the same.
		w.log.Error("etcd treated a refresh as an empty write; the lease is written back, and from now on it is written instead of refreshed. "+
			"Are there members older than 2.3, or a proxy that changes what it passes on?", "key", e.key)
	}
	return w.set(ctx, e, client.SetOptions{PrevIndex: at})
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
