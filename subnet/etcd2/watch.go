package etcd2

import (
	"context"
	"errors"
	"iter"
	"path"
	"strings"

	"go.etcd.io/etcd/client/v2"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/etcd"
	"flanneld/subnet/wire"
)

// AwaitConfig implements subnet.Store.
func (s *Store) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	p := s.poll(s.configKey(), false, after)
	defer p.close()
	var pause backoff.Backoff
	for {
		_, err := p.next(ctx)
		lost := errors.Is(err, subnet.ErrCompacted)
		if err != nil && !lost && !errors.Is(err, errQuiet) {
			return config.Document{}, err
		}
		doc, at, err := s.config(ctx)
		if !lost || err != nil || doc.Rev > after || uint64(at) < p.cursor {
			return doc, err
		}
		// A busy store's history does not reach back to a document that has long
		// been there: wait from where the store is now.
		p.cursor = uint64(at)
		if err := pause.Wait(ctx); err != nil {
			return config.Document{}, err
		}
	}
}

// Watch implements subnet.Store.
func (s *Store) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		p := s.poll(s.subnetsKey(), true, after)
		defer p.close()
		for {
			r, err := p.next(ctx)
			if errors.Is(err, errQuiet) {
				continue
			}
			if err == nil && s.allGone(r) {
				err = &etcd.Failure{Text: r.Node.Key + " was deleted", Causes: []error{subnet.ErrCompacted}}
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

// removed reports whether the event is one of a key that is gone.
func removed(r *client.Response) bool {
	return r.Action == "delete" || r.Action == "expire" || r.Action == "compareAndDelete"
}

// allGone reports whether the event is that of the directory of the leases, or
// one above it, whose going has no event of the keys.
func (s *Store) allGone(r *client.Response) bool {
	return removed(r) && (r.Node.Key == s.subnetsKey() || strings.HasPrefix(s.subnetsKey(), r.Node.Key+"/"))
}

// event reads a change of one key. A key that was a lease and now holds
// something else is one that is gone. Keys deeper than a lease's are nobody's.
func (s *Store) event(r *client.Response) (subnet.Event, bool) {
	dir, name := path.Split(r.Node.Key)
	if path.Clean(dir) != s.subnetsKey() {
		return subnet.Event{}, false
	}
	if !removed(r) {
		if l, ok := s.lease(r.Node); ok {
			return subnet.Event{Lease: l}, true
		}
	}
	k, err := wire.ParseKey(name)
	if err != nil {
		return subnet.Event{}, false
	}
	l := subnet.Lease{Rev: subnet.Revision(r.Node.ModifiedIndex)}
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return subnet.Event{Lease: l, Deleted: true}, true
}

// poll returns a poll with connections of its own: its waits hold up nothing else.
// Close it.
func (s *Store) poll(key string, recursive bool, after subnet.Revision) *poll {
	a, _ := connect(s.opts, s.dialer, s.times) // the options are good: New has connected by them
	a.probe = s.api.probe
	a.transport.cluster = s.cluster.Load().(string)
	return &poll{api: a, times: s.times, key: key, small: s.configKey(), recursive: recursive, cursor: uint64(after)}
}
