package subnet

import (
	"context"
	"errors"
	"iter"
	"time"

	"flanneld/subnet/config"
)

// Revision is the store's: it counts leases and the configuration alike.
type Revision = config.Revision

// Event is one change of a lease. A delete or an expiry carries the key's
// subnets only.
type Event struct {
	Lease   Lease
	Deleted bool
	Unclear bool // whether it was deleted or has expired: the store does not tell, and Expires of what it listed does not either
}

// Sentinels of Store. Implementations wrap them; test with errors.Is.
var (
	// ErrTaken: the key exists already, under whatever owner.
	ErrTaken = errors.New("subnet is leased already")
	// ErrLost: the key is gone, or its value is no longer the one that the
	// caller last read or wrote. The key was not touched.
	ErrLost = errors.New("lease has changed in the store")
	// ErrDuplicate: another host uses this host's node id, since it has a copy of its
	// files. This host needs another one.
	ErrDuplicate = errors.New("another host has this host's node id")
	// ErrCompacted: the store no longer has the events after the revision asked
	// for (or never had them: it was wiped). List again.
	ErrCompacted = errors.New("etcd index outside history window")
)

// DefaultTTL is how long a lease lives without a renewal. All released
// versions use it, and a mixed cluster relies on it.
const DefaultTTL = 24 * time.Hour

// Seconds rounds a ttl to what stores take: whole seconds, and at least one, since zero
// means never.
func Seconds(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return 0
	}
	return max(ttl.Round(time.Second), time.Second)
}

// Store is where a cluster keeps its configuration and leases. The suite in
// storetest says in full what each method promises; every implementation is
// held to it. Methods are safe for concurrent use. Each ends soon after its
// context; Config, Leases, Create, Renew, Refresh and Delete also have a deadline of
// their own, so that a store which hangs is an error and not a silence.
//
// An error that is not one of the sentinels says nothing about whether a write
// was done: the caller lists again and decides by owner.
type Store interface {
	// Config returns the configuration document. If there is none the error is
	// [config.ErrNone] and the Document's Rev is still set.
	Config(ctx context.Context) (config.Document, error)

	// AwaitConfig blocks until the document was written or deleted after the
	// given revision, and returns it as Config does. It may return early, with
	// an unchanged document.
	AwaitConfig(ctx context.Context, after Revision) (config.Document, error)

	// Leases returns all leases, in no order, and the revision they were read
	// at, from which Watch goes on. Keys and values that are no leases are
	// logged once and left out. Expires is zero for a reservation only; what a store would
	// have to ask for one by one may be the latest time that it can be, of other hosts'
	// leases, or the earliest, of a key of this host's that somebody else has written.
	Leases(ctx context.Context) ([]Lease, Revision, error)

	// Watch yields every change of a lease after the given revision, in order,
	// until the caller breaks off or an error is yielded, which is the last
	// thing it yields: ErrCompacted, the context's, or the store's. A renewal is a
	// change, a quiet refresh is none. What is no lease is logged once and skipped.
	Watch(ctx context.Context, after Revision) iter.Seq2[Event, error]

	// Create stores the lease if its key is absent, to expire after ttl
	// (whole seconds; zero: never), and returns it with Expires and Rev set. It returns
	// ErrTaken if the key exists.
	Create(ctx context.Context, l Lease, ttl time.Duration) (Lease, error)

	// Renew writes the lease's value and a new ttl (zero: never expires) over its key
	// if that still says what was does, at was.Rev, and returns it with Expires and Rev
	// set. It returns ErrLost if it does not, whoever wrote it. A revision alone proves
	// nothing: a store that was wiped or restored gives it out a second time.
	Renew(ctx context.Context, was, l Lease, ttl time.Duration) (Lease, error)

	// Refresh gives the key a new ttl (whole seconds, not zero) if it still holds
	// exactly the lease's value, whatever its revision: once written, a value is
	// its owner's mark. It returns the lease with Expires and Rev set, and whether
	// that was quiet: no watcher was woken. A store that cannot do that writes the
	// whole value as Renew does. A key that does not expire stays so. It returns
	// ErrLost if the key is gone or holds something else, and has not touched it
	// then.
	Refresh(ctx context.Context, l Lease, ttl time.Duration) (refreshed Lease, quiet bool, err error)

	// Delete removes the lease's key if that still says what l does, at l.Rev, by the
	// store's plain delete, which every released reader understands. It returns ErrLost
	// if it does not, nil if the key is gone.
	Delete(ctx context.Context, l Lease) error
}
