package subnet

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"flanneld/pkg/backoff"
)

// The time that a live host has to answer.
const (
	patienceTwin  = 2 * time.Second // one with our node id
	patienceRival = 6 * time.Second // another one: it may have been without etcd until now
)

// contest asks whether the host of a lease is there, by a mark in it that changes nothing
// for anybody else: a live host writes its lease again without the mark. Without an answer
// contest returns the lease with its mark. It returns ErrLost if the lease is gone, or if
// another host contests it, too.
func contest(ctx context.Context, store Store, was Lease, ttl, patience time.Duration) (now Lease, alive bool, err error) {
	patience = min(patience, ttl/4)
	if was.Reserved() {
		ttl = 0
	}
	marked := was
	marked.Contest = rand.Text()
	if marked, err = store.Renew(ctx, was, marked, ttl); err != nil {
		return Lease{}, false, err
	}
	const looks = 6
	for range looks {
		if err := backoff.Sleep(ctx, patience/looks); err != nil {
			return Lease{}, false, err
		}
		now, there, err := read(ctx, store, was.Key())
		switch {
		case err != nil:
			return Lease{}, false, fmt.Errorf("list leases: %w", err)
		case there && now.Contest == "":
			return now, true, nil
		case !there || now.Contest != marked.Contest:
			return Lease{}, false, ErrLost
		}
	}
	return marked, false, nil
}

// read reads the lease on a key from the store.
func read(ctx context.Context, store Store, k Key) (l Lease, there bool, err error) {
	leases, _, err := store.Leases(ctx)
	if i := slices.IndexFunc(leases, func(l Lease) bool { return l.Key() == k }); i >= 0 {
		return leases[i], true, err
	}
	return Lease{}, false, err
}
