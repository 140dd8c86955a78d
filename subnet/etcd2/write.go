package etcd2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v2"
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

// write sets a key on a condition. If etcd refuses, and the key does not hold exactly
// our value, written after the index of the condition, the error is refused. If it does,
// the write was done by a try whose answer was lost: the client tries a renewal again by
// itself, and our caller a creation. The expiry is that of the earlier try: it is written
// over, so that what is returned has all of the ttl.
func (w *writer) write(ctx context.Context, e entry, refused error, o client.SetOptions) (*client.Node, error) {
	n, err := w.set(ctx, e, o)
	return w.complete(ctx, e, n, err, refused, func(n *client.Node) (*client.Node, error) {
		switch {
		case n.Value != e.value || n.ModifiedIndex <= o.PrevIndex:
			return nil, refused
		case n.Expiration == nil:
			return n, nil
		}
		return w.set(ctx, e, client.SetOptions{PrevIndex: n.ModifiedIndex})
	})
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
