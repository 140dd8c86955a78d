package etcd2

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/wire"
)

const (
	// pollTime is how long one wait request stays open: no proxy forgets it, and
	// a hang that nothing else shows ends with it.
	pollTime   = 40 * time.Second
	pollJitter = 20 * time.Second
	// pollPause keeps a server that answers nothing at once from being asked in
	// a loop.
	pollPause = 50 * time.Millisecond
)

// errQuiet: nothing happened while a wait request was open.
var errQuiet = errors.New("no event")

// poll is one watch: it keeps its place in the store's history.
type poll struct {
	keys      client.KeysAPI
	index     *index
	key       string
	recursive bool
	cursor    uint64 // the last index that is dealt with
}

// poll makes wait requests over connections of its own, so that they do not
// hold up anything else.
func (s *Store) poll(key string, recursive bool, after subnet.Revision) (*poll, error) {
	c, idx, err := connect(s.opts)
	if err != nil {
		return nil, err
	}
	return &poll{client.NewKeysAPI(c), idx, key, recursive, uint64(after)}, nil
}

func (p *poll) close() { p.index.transport.CloseIdleConnections() }

// next waits for the next event for a while. It returns errQuiet if there was
// none, subnet.ErrCompacted if the place in the history is lost.
func (p *poll) next(ctx context.Context) (r *client.Response, err error) {
	start := time.Now()
	p.index.last.Store(0)
	wait, cancel := context.WithTimeout(ctx, pollTime+rand.N(pollJitter))
	defer cancel()
	// A stuck future index is seen as soon as the header is there, not when the
	// poll is over.
	watched := make(chan struct{})
	go func() { defer close(watched); p.watchIndex(wait, cancel) }()
	r, err = p.ask(wait)
	cancel()
	<-watched
	if p.future() {
		return nil, subnet.ErrCompacted // the store was wiped or restored
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		p.cursor = max(p.cursor, r.Node.ModifiedIndex)
		return r, nil
	}
	if _, lost := apiError(err, client.ErrorCodeEventIndexCleared, 400); lost {
		return nil, fmt.Errorf("%w: %w", subnet.ErrCompacted, err)
	}
	if wait.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		// All that the store had when it answered is known to be quiet, so a
		// busy store's short history does not run away from a quiet key.
		p.cursor = max(p.cursor, p.index.last.Load())
		return nil, errQuiet
	}
	_ = backoff.Sleep(ctx, pollPause-time.Since(start)) // at once if that time is over
	return nil, explain(err)
}

func (p *poll) ask(ctx context.Context) (r *client.Response, err error) {
	defer guard(&err)
	r, err = p.keys.Watcher(p.key, &client.WatcherOptions{AfterIndex: p.cursor, Recursive: p.recursive}).Next(ctx)
	if err == nil && r.Node == nil {
		err = errNoNode
	}
	return r, err
}

// future reports whether the store is behind our place in its history.
func (p *poll) future() bool {
	at := p.index.last.Load()
	return at != 0 && at < p.cursor
}

// watchIndex ends a wait request to a store that is behind.
func (p *poll) watchIndex(ctx context.Context, cancel func()) {
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for p.index.last.Load() == 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	if p.future() {
		cancel()
	}
}

// AwaitConfig implements subnet.Store.
func (s *Store) AwaitConfig(ctx context.Context, after subnet.Revision) (subnet.Document, error) {
	p, err := s.poll(s.configKey(), false, after)
	if err != nil {
		return subnet.Document{}, err
	}
	defer p.close()
	for {
		_, err := p.next(ctx)
		lost := errors.Is(err, subnet.ErrCompacted)
		if err != nil && !lost && !errors.Is(err, errQuiet) {
			return subnet.Document{}, err
		}
		doc, at, err := s.config(ctx)
		if !lost || err != nil || doc.Rev > after || uint64(at) < p.cursor {
			return doc, err
		}
		// A busy store's history does not reach back to a document that has long
		// been there: wait from where the store is now.
		p.cursor = uint64(at)
	}
}

// Watch implements subnet.Store.
func (s *Store) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		p, err := s.poll(s.subnetsKey(), true, after)
		if err != nil {
			yield(subnet.Event{}, err)
			return
		}
		defer p.close()
		for {
			r, err := p.next(ctx)
			if errors.Is(err, errQuiet) {
				continue
			}
			if err == nil && r.Node.Dir {
				err = subnet.ErrCompacted // a whole directory went, in one event
			}
			if err != nil {
				yield(subnet.Event{}, err)
				return
			}
			if e, ok := s.event(r); ok && !yield(e, nil) {
				return
			}
		}
	}
}

// event reads a change of one key. A key that was a lease and now holds
// something else is one that is gone.
func (s *Store) event(r *client.Response) (subnet.Event, bool) {
	switch r.Action {
	case "delete", "expire", "compareAndDelete":
	default:
		if l, ok := s.lease(r.Node); ok {
			return subnet.Event{Lease: l}, true
		}
	}
	k, err := wire.ParseKey(path.Base(r.Node.Key))
	if err != nil {
		return subnet.Event{}, false
	}
	l := subnet.Lease{Rev: subnet.Revision(r.Node.ModifiedIndex)}
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return subnet.Event{Lease: l, Deleted: true}, true
}
