package etcd2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/subnet"
	"flanneld/subnet/wire"
)

// Create implements subnet.Store.
func (s *Store) Create(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return s.write(ctx, "create", l, subnet.ErrTaken, &client.SetOptions{PrevExist: client.PrevNoExist, TTL: seconds(ttl)})
}

// Renew implements subnet.Store.
func (s *Store) Renew(ctx context.Context, l subnet.Lease, ttl time.Duration) (subnet.Lease, error) {
	if l.Rev == 0 { // to etcd, zero is no condition
		return l, fmt.Errorf("renew lease %s: %w", l.Key(), subnet.ErrLost)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return s.write(ctx, "renew", l, subnet.ErrLost, &client.SetOptions{PrevIndex: uint64(l.Rev), TTL: seconds(ttl)})
}

// tries is how often a refused write is settled before that is left to our caller.
const tries = 3

// errUnsettled: the key was ours each time that it was read, and the write after
// that was refused. That is no answer: the client has tried again by itself what was
// done, or somebody writes our value.
var errUnsettled = errors.New("the key is this host's, and a write is refused again and again: are answers cut off on their way?")

// write sets a lease's key on a condition. If etcd refuses, and the key does not
// hold our value all the same, the error is refused. If it does, the expiry is that
// of an earlier try: it is written over, so that what is returned has all of the ttl.
func (s *Store) write(ctx context.Context, verb string, l subnet.Lease, refused error, o *client.SetOptions) (subnet.Lease, error) {
	value, err := wire.Encode(l)
	if err != nil {
		return l, err
	}
	n, err := s.set(ctx, s.leaseKey(l.Key()), value, o)
	for range tries {
		if _, no := apiError(err, client.ErrorCodeNodeExist, client.ErrorCodeTestFailed, client.ErrorCodeKeyNotFound); !no {
			break
		}
		if n, err = s.readBack(ctx, s.leaseKey(l.Key()), value, o.PrevIndex, refused); err == nil && n.Expiration != nil {
			n, err = s.set(ctx, s.leaseKey(l.Key()), value, &client.SetOptions{PrevIndex: n.ModifiedIndex, TTL: o.TTL})
		}
	}
	if err = settled(err, refused); err != nil {
		return l, fmt.Errorf("%s lease %s: %w", verb, l.Key(), err)
	}
	return stamp(l, n), nil
}

// settled returns what is to be said of a write after all tries to settle it.
func settled(err, refused error) error {
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return refused
	}
	if _, no := apiError(err, client.ErrorCodeTestFailed); no {
		return errUnsettled
	}
	return err
}

func (s *Store) set(ctx context.Context, key, value string, o *client.SetOptions) (*client.Node, error) {
	r, err := s.put(ctx, key, value, o)
	if err != nil {
		return nil, err
	}
	return r.Node, nil
}

// put is set with all of the answer.
func (s *Store) put(ctx context.Context, key, value string, o *client.SetOptions) (*client.Response, error) {
	if err := ctx.Err(); err != nil { // the client would still send it
		return nil, s.explain(ctx, err)
	}
	r, err := s.keys.Set(ctx, key, value, o)
	if err == nil {
		err = checkNode(r)
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return r, nil
}

// readBack settles a refused write: if the key holds exactly our value, written
// after the index, the write was done by a try whose answer was lost. The client
// tries a renewal again by itself, and our caller a creation.
func (s *Store) readBack(ctx context.Context, key, value string, after uint64, refused error) (*client.Node, error) {
	r, err := s.read(ctx, s.keys, key, false)
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); gone {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("read it back: %w", err)
	}
	if r.Node.Value == value && !r.Node.Dir && r.Node.ModifiedIndex > after {
		return r.Node, nil
	}
	return nil, refused
}

// Delete implements subnet.Store. A compareAndDelete would be exact, and wedges
// every release before 0.14.
func (s *Store) Delete(ctx context.Context, l subnet.Lease) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	key := s.leaseKey(l.Key())
	r, err := s.read(ctx, s.keys, key, false)
	if err == nil && subnet.Revision(r.Node.ModifiedIndex) != l.Rev {
		err = subnet.ErrLost
	}
	if err == nil {
		_, err = s.keys.Delete(ctx, key, nil)
		err = s.explain(ctx, err)
	}
	if _, gone := apiError(err, client.ErrorCodeKeyNotFound); err == nil || gone {
		return nil
	}
	return fmt.Errorf("delete lease %s: %w", l.Key(), err)
}

// seconds rounds a ttl to what etcd takes: whole seconds, and at least one,
// since zero means never.
func seconds(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return 0
	}
	return max(ttl.Round(time.Second), time.Second)
}
