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
// another host contests it, too: two that asked in turns would never have an answer.
func contest(ctx context.Context, store Store, was Lease, ttl, patience time.Duration) (now Lease, alive bool, err error) {
	patience = min(patience, ttl/4)
	if was.Contest != "" {
		if now, err = await(ctx, store, was, patience+patience/4); err == nil && !now.Same(was) {
			err = ErrLost
		}
		if err != nil {
			return Lease{}, false, err
		}
	}
	if was.Reserved() {
		ttl = 0
	}
	marked := was
	marked.Contest = rand.Text()
	if marked, err = store.Renew(ctx, was, marked, ttl); err != nil {
		return Lease{}, false, err
	}
	now, err = await(ctx, store, marked, patience)
	switch {
	case err != nil:
		return Lease{}, false, err
	case now.Key() == was.Key() && now.Contest == "":
		return now, true, nil
	case now.Contest != marked.Contest:
		return Lease{}, false, ErrLost
	}
	return marked, false, nil
}

// Ask asks whether the host of a lease is there, and returns the lease as it is then: with a
// mark that harms nobody if there was no answer within some six seconds. Only hosts with a
// node id answer, and only while they reach the store: one that is silent may still have
// containers in its subnet. It returns ErrLost if the lease is gone, or another host asks.
func Ask(ctx context.Context, store Store, l Lease) (now Lease, alive bool, err error) {
	return contest(ctx, store, l, DefaultTTL, patienceRival)
}

// await returns a lease as soon as it has changed, zero if it is gone, or unchanged once
// the time is over.
func await(ctx context.Context, store Store, was Lease, most time.Duration) (now Lease, err error) {
	const looks = 6
	for range looks {
		if err := backoff.Sleep(ctx, most/looks); err != nil {
			return Lease{}, err
		}
		if now, _, err = read(ctx, store, was.Key()); err != nil {
			return Lease{}, fmt.Errorf("list leases: %w", err)
		}
		if !now.Same(was) {
			return now, nil
		}
	}
	return now, nil
}

// read reads the lease on a key from the store.
func read(ctx context.Context, store Store, k Key) (l Lease, there bool, err error) {
	leases, _, err := store.Leases(ctx)
	if i := slices.IndexFunc(leases, func(l Lease) bool { return l.Key() == k }); i >= 0 {
		return leases[i], true, err
	}
	return Lease{}, false, err
}
