package etcd2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
)

// writer writes a key on a condition, and finds out what was done if an answer is
// lost. It does not know what the value means. Safe for concurrent use.
type writer struct {
	api       *api
	log       *slog.Logger
	noRefresh atomic.Bool // a refresh has emptied a key
}

// entry is a key, the value that it is to hold, and its ttl.
type entry struct {
	key, value string
	ttl        time.Duration
}

// tries is how often it is found out what became of a refused write, before that is
// left to the caller.
const tries = 3

// errUnsettled: the key was ours each time that it was read, and the write after
// that was refused. That is no answer: the client has tried again by itself what was
// done, or somebody writes our value.
var errUnsettled = errors.New("the key is this host's, and a write is refused again and again: are answers cut off on their way?")

// create makes a key. One that is there and holds exactly our value is ours: the write
// was done by a try whose answer was lost. The expiry is that of the earlier try: it is
// written over, so that what is returned has all of the ttl.
func (w *writer) create(ctx context.Context, e entry) (*client.Node, error) {
	n, err := w.set(ctx, e, client.SetOptions{PrevExist: client.PrevNoExist})
	return w.complete(ctx, e, n, err, subnet.ErrTaken, func(n *client.Node) (*client.Node, error) {
		return w.over(ctx, e, n, subnet.ErrTaken, 0)
	})
}

// replace writes over a key that is as it was at an index, or holds our value since: then
// an earlier try has done it, as the client tries again by itself. The key is read first:
// the index alone would be no condition, since a store that was wiped gives it out again.
func (w *writer) replace(ctx context.Context, e entry, at uint64, was func(*client.Node) bool) (*client.Node, error) {
	unread := client.Error{Code: client.ErrorCodeTestFailed}
	return w.complete(ctx, e, nil, unread, subnet.ErrLost, func(n *client.Node) (*client.Node, error) {
		if was(n) {
			return w.set(ctx, e, client.SetOptions{PrevIndex: n.ModifiedIndex, PrevValue: n.Value})
		}
		return w.over(ctx, e, n, subnet.ErrLost, at)
	})
}

// over gives a key that holds our value since an index all of its ttl.
func (w *writer) over(ctx context.Context, e entry, n *client.Node, refused error, since uint64) (*client.Node, error) {
	switch {
	case n.Value != e.value || n.ModifiedIndex <= since:
		return nil, refused
	case n.Expiration == nil:
		return n, nil
	}
	return w.set(ctx, e, client.SetOptions{PrevIndex: n.ModifiedIndex, PrevValue: n.Value})
}

// complete returns a write's result, n and err, unless etcd has refused it: then it
// reads the key, and lets again write once more what is found there.
func (w *writer) complete(ctx context.Context, e entry, n *client.Node, err, refused error, again func(*client.Node) (*client.Node, error)) (*client.Node, error) {
	for range tries {
		if !apiError(err, client.ErrorCodeNodeExist, client.ErrorCodeTestFailed) {
			break
		}
		var r *client.Response
		if r, err = w.api.get(ctx, e.key, false); err != nil {
			err = fmt.Errorf("read it back: %w", err)
			break
		}
		if r.Node.Dir {
			return nil, refused
		}
		n, err = again(r.Node)
	}
	switch {
	case apiError(err, client.ErrorCodeKeyNotFound):
		return nil, refused
	case apiError(err, client.ErrorCodeTestFailed):
		return nil, errUnsettled
	}
	return n, err
}

func (w *writer) set(ctx context.Context, e entry, o client.SetOptions) (*client.Node, error) {
	o.TTL = e.ttl
	r, err := w.api.put(ctx, e.key, e.value, &o)
	if err != nil {
		return nil, err
	}
	return r.Node, nil
}
