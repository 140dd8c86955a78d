package original

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const leaseTTL = 86400 // seconds

// store asks etcd what that release asks. No request has a deadline.
type store struct {
	*clientv3.Client
	prefix string
}

func open(config clientv3.Config, prefix string) (*store, error) {
	c, err := clientv3.New(config)
	return &store{c, prefix}, err
}

func (s *store) config(ctx context.Context) (string, error) {
	r, err := s.Get(ctx, path.Join(s.prefix, "config"))
	switch {
	case err != nil:
		return "", err
	case len(r.Kvs) == 0:
		return "", errors.New("flannel config not found in etcd store. Did you create your config using etcdv3 API?")
	}
	return string(r.Kvs[0].Value), nil
}

// all is the string with which the keys of all leases begin, without a slash at the end.
func (s *store) all() string { return path.Join(s.prefix, "subnets") }

// leases asks for the time to live of each lease, and drops it if that fails.
func (s *store) leases(ctx context.Context) (all []lease, revision int64, err error) {
	r, err := s.Get(ctx, s.all(), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	for _, kv := range r.Kvs {
		l, err := parseLease(string(kv.Key), string(kv.Value))
		if err != nil {
			continue
		}
		if _, err := s.expiry(ctx, kv.Lease); err == nil {
			all = append(all, l)
		}
	}
	return all, r.Header.Revision, nil
}

// expiry is a second ago for a key without an etcd lease: its TTL is -1.
func (s *store) expiry(ctx context.Context, id int64) (time.Time, error) {
	r, err := s.TimeToLive(ctx, clientv3.LeaseID(id))
	if err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(time.Duration(r.TTL) * time.Second), nil
}

func (s *store) create(ctx context.Context, key, value string) (revision int64, expires time.Time, err error) {
	g, err := s.Grant(ctx, leaseTTL)
	if err != nil {
		return 0, expires, err
	}
	key = path.Join(s.all(), key)
	r, err := s.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "=", 0)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(g.ID))).Commit()
	if err != nil {
		return 0, expires, err
	}
	if !r.Succeeded {
		_, _ = s.Revoke(ctx, g.ID)
		return 0, expires, errors.New("subnet already exists")
	}
	return r.Header.Revision, time.Now().Add(time.Duration(g.TTL) * time.Second), nil
}

// put writes over whatever is there, with a new etcd lease. The old one is left to expire.
func (s *store) put(ctx context.Context, key, value string) (revision int64, expires time.Time, err error) {
	g, err := s.Grant(ctx, leaseTTL)
	if err != nil {
		return 0, expires, err
	}
	r, err := s.Put(ctx, path.Join(s.all(), key), value, clientv3.WithLease(g.ID))
	if err != nil {
		return 0, expires, err
	}
	return r.Header.Revision, time.Now().Add(time.Duration(g.TTL) * time.Second), nil
}

func (s *store) remove(ctx context.Context, key string) error {
	_, err := s.Delete(ctx, path.Join(s.all(), key))
	return err
}

// change is one event, or that the history has a gap.
type change struct {
	relist   bool
	kind     mvccpb.Event_EventType
	key      string // all of it
	value    string
	expires  time.Time
	failed   error // to ask for the time to live
	revision int64
}

// watch sends what happens to all keys that begin with the one of a lease, or with all() if
// that is empty, until ctx ends or the history has a gap.
func (s *store) watch(ctx context.Context, key string, revision int64, to chan<- change) {
	send := func(c change) {
		select {
		case to <- c:
		case <-ctx.Done():
		}
	}
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		part, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for r := range s.Watch(part, strings.TrimSuffix(s.all()+"/"+key, "/"), clientv3.WithPrefix(), clientv3.WithRev(revision)) {
			if r.CompactRevision != 0 {
				cancel()
				send(change{relist: true, revision: r.CompactRevision})
				revision = r.CompactRevision
				break
			}
			for _, e := range r.Events {
				c := change{kind: e.Type, key: string(e.Kv.Key), value: string(e.Kv.Value)}
				if e.Type == mvccpb.PUT {
					c.expires, c.failed = s.expiry(ctx, e.Kv.Lease)
				}
				send(c)
			}
			if r.Err() == nil {
				revision, pause = r.Header.Revision+1, 100*time.Millisecond
			}
		}
		cancel()
		_ = wait(ctx, pause)
	}
}
