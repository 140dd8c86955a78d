package memstore

import (
	"context"
	"iter"
	"slices"

	"flanneld/subnet"
	"flanneld/subnet/config"
	"flanneld/subnet/wire"
)

// record counts a change and wakes those who wait. The caller holds the lock.
func (s *Store) record(c change) entry {
	s.rev++
	c.entry.rev = s.rev
	if len(s.history) >= historyLen {
		s.history = s.history[1:]
	}
	s.history = append(s.history, c)
	close(s.changed)
	s.changed = make(chan struct{})
	return c.entry
}

// since returns the changes after a revision, that of the last one, and a
// channel that is closed by the next. It returns ErrCompacted if they are not
// kept any more, or the revision is one that never was.
func (s *Store) since(after subnet.Revision) ([]change, subnet.Revision, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.rev - subnet.Revision(len(s.history)) // the last revision before the history
	if after < first || after > s.rev {
		return nil, 0, nil, subnet.ErrCompacted
	}
	return slices.Clone(s.history[after-first:]), s.rev, s.changed, nil
}

// Watch implements subnet.Store.
func (s *Store) Watch(ctx context.Context, after subnet.Revision) iter.Seq2[subnet.Event, error] {
	return func(yield func(subnet.Event, error) bool) {
		for {
			err := s.begin(ctx, "Watch")
			var changes []change
			var next <-chan struct{}
			if err == nil {
				changes, after, next, err = s.since(after)
			}
			for _, c := range changes {
				if c.dir {
					err = subnet.ErrCompacted
					break
				}
				if e, ok := s.event(c); ok && !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(subnet.Event{}, err)
				return
			}
			select {
			case <-ctx.Done():
			case <-next:
			}
		}
	}
}

// event reads a change. A key that now holds what is no lease is one that is
// gone.
func (s *Store) event(c change) (subnet.Event, bool) {
	if c.key == "" {
		return subnet.Event{}, false
	}
	if !c.deleted {
		s.mu.Lock()
		l, ok := s.lease(c.key, c.entry)
		s.mu.Unlock()
		if ok {
			return subnet.Event{Lease: l}, true
		}
	}
	k, err := wire.ParseKey(c.key)
	if err != nil {
		return subnet.Event{}, false
	}
	l := subnet.Lease{Rev: c.entry.rev}
	l.V4.Subnet, l.V6.Subnet = k.V4, k.V6
	return subnet.Event{Lease: l, Deleted: true}, true
}

// AwaitConfig implements subnet.Store.
func (s *Store) AwaitConfig(ctx context.Context, after subnet.Revision) (config.Document, error) {
	for {
		if err := s.begin(ctx, "AwaitConfig"); err != nil {
			return config.Document{}, err
		}
		changes, rev, next, err := s.since(after)
		if err != nil || slices.ContainsFunc(changes, func(c change) bool { return c.config }) {
			return s.Config(ctx)
		}
		after = rev
		select {
		case <-ctx.Done():
		case <-next:
		}
	}
}
