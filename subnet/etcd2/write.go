package etcd2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"go.etcd.io/etcd/client/v2"
)

// writer writes a key on a condition, and finds out what was done if an answer is
// lost. It does not know what the value means. Safe for concurrent use.
type writer struct {
	api       *api
	log       *slog.Logger
	noRefresh atomic.Bool // a refresh has emptied a key
}

// entry is a key and the value that it is to hold.
type entry struct{ key, value string }

// tries is how often it is found out what became of a refused write, before that is
// left to the caller.
const tries = 3

// errUnsettled: the key was ours each time that it was read, and the write after
// that was refused. That is no answer: the client has tried again by itself what was
// done, or somebody writes our value.
var errUnsettled = errors.New("the key is this host's, and a write is refused again and again: are answers cut off on their way?")

// write sets a key on a condition. If etcd refuses, and the key does not hold our
// value all the same, the error is refused. If it does, the expiry is that of an
// earlier try: it is written over, so that what is returned has all of the ttl.
func (w *writer) write(ctx context.Context, e entry, refused error, o *client.SetOptions) (*client.Node, error) {
	n, err := w.set(ctx, e, o)
	for range tries {
		if _, no := apiError(err, client.ErrorCodeNodeExist, client.ErrorCodeTestFailed, client.ErrorCodeKeyNotFound); !no {
			break
		}
		if n, err = w.readBack(ctx, e, o.PrevIndex, refused); err == nil && n.Expiration != nil {
			n, err = w.set(ctx, e, &client.SetOptions{PrevIndex: n.ModifiedIndex, TTL: o.TTL})
		}
	}
	return n, outcome(err, refused)
}

// outcome returns the error of a write after all tries to find out what became of it.
func outcome(err, refused error) error {
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return refused
	}
	if _, no := apiError(err, client.ErrorCodeTestFailed); no {
		return errUnsettled
	}
	return err
}

func (w *writer) set(ctx context.Context, e entry, o *client.SetOptions) (*client.Node, error) {
	r, err := w.api.put(ctx, e.key, e.value, o)
	if err != nil {
		return nil, err
	}
	return r.Node, nil
}

// readBack looks what became of a refused write: if the key holds exactly our value,
// written after the index, the write was done by a try whose answer was lost. The
// client tries a renewal again by itself, and our caller a creation.
func (w *writer) readBack(ctx context.Context, e entry, after uint64, refused error) (*client.Node, error) {
	r, err := w.api.get(ctx, e.key, false)
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("read it back: %w", err)
	}
	if r.Node.Value == e.value && !r.Node.Dir && r.Node.ModifiedIndex > after {
		return r.Node, nil
	}
	return nil, refused
}
