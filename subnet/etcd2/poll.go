package etcd2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"go.etcd.io/etcd/client/v2"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

var (
	// errQuiet: nothing happened while a wait request was open.
	errQuiet = errors.New("no event")
	// errRepeat: the answer to a wait is of the past. It would be so for ever.
	errRepeat = errors.New("etcd, or a cache before it, repeats an event")
)

// poll is one watch: it keeps its place in the store's history. Not safe for
// concurrent use.
type poll struct {
	*api
	times     timing
	key       string
	small     string // a key that is cheap to read
	recursive bool
	cursor    uint64 // the last index that is dealt with
	claimed   uint64 // how far the store was in a wait from the cursor that brought no event
}

func (p *poll) close() { p.transport.CloseIdleConnections() }

// next waits for the next event for a while. It returns errQuiet if there was
// none, subnet.ErrCompacted if the place in the history is lost. Calls that
// come to nothing at once are spaced out.
func (p *poll) next(ctx context.Context) (*client.Response, error) {
	for held := 1; ; held++ {
		start := time.Now()
		r, err := p.wait(ctx)
		if err == nil {
			p.cursor, p.claimed = r.Node.ModifiedIndex, 0
			return r, nil
		}
		err = p.judge(ctx, err, time.Since(start))
		if !errors.Is(err, errHeld) {
			_ = backoff.Sleep(ctx, p.times.pause-time.Since(start)) // at once if that time is over
			return nil, err
		}
		// etcd 2's proxy sends the header of a wait with the event. If all else
		// is answered, that is what we talk to, and not a hung member.
		if other := p.check(ctx); other != nil {
			return nil, other
		}
		if held >= 2 {
			p.transport.patience = true
		}
	}
}

// wait makes one wait request.
func (p *poll) wait(ctx context.Context) (r *client.Response, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil { // the client does not look whether there is a node
			err = errNoNode
		}
	}()
	length := p.times.poll
	length += rand.N(length / 2)
	if p.claimed > p.cursor {
		length = p.times.confirm
	}
	ctx, cancel := context.WithTimeoutCause(ctx, length, errQuiet)
	defer cancel()
	p.transport.after, p.transport.at = p.cursor, 0
	// To the client, zero is now. The first index is the cluster's own, of its
	// first member.
	after := max(p.cursor, 1)
	r, err = p.keys.Watcher(p.key, &client.WatcherOptions{AfterIndex: after, Recursive: p.recursive}).Next(ctx)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errQuiet):
		return nil, errQuiet
	case err == nil && r.Node.ModifiedIndex <= p.cursor:
		return nil, errRepeat
	}
	return r, err
}

// judge says what the error of a wait means, which lasted for so long.
func (p *poll) judge(ctx context.Context, err error, lasted time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	quiet := errors.Is(err, errQuiet)
	if !quiet {
		err = p.explain(ctx, err)
		// What a server or a proxy ends after a while, it has had enough of.
		quiet = errors.Is(err, errEmpty) && lasted >= p.times.soon
	}
	if errors.Is(err, net.ErrClosed) { // the host has moved: ask again from where it is now
		return errQuiet
	}
	switch {
	case apiError(err, client.ErrorCodeEventIndexCleared, client.ErrorCodeWatcherCleared), errors.Is(err, errFuture):
		return fmt.Errorf("%w: %w", subnet.ErrCompacted, err)
	case !quiet:
		return err
	case p.transport.at == 0 || !p.led(ctx):
		// A wait whose header is held back does not even show that somebody is
		// there, and a member that is cut off from the others keeps silent for ever.
		if err := p.check(ctx); err != nil {
			return err
		}
	}
	p.quiet()
	return errQuiet
}

// quiet moves the cursor past what is known to be quiet, so that a busy store's short
// history does not run away from a quiet key. One wait that comes to nothing does not
// show that: its answer's header says how far the store is, and the event may be held
// up behind it, by a member that hangs or a network that breaks between the two. A
// second one from the same place, with time for the event, does.
func (p *poll) quiet() {
	switch at := p.transport.at; {
	case p.claimed <= p.cursor:
		p.claimed = at
	case at != 0 && time.Since(p.transport.answered) >= p.times.soon:
		p.cursor, p.claimed = p.claimed, 0
	}
}

// led reports whether a member says that it has a leader, which costs the cluster
// nothing. The next wait is made where that is so.
func (p *poll) led(ctx context.Context) bool {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	_, err := client.NewMembersAPI(p.client).Leader(ctx)
	return err == nil
}

// check asks for something small. It returns nil if there is an answer, and
// ErrCompacted if that is of a store that is behind.
func (p *poll) check(ctx context.Context) error {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	r, err := p.get(ctx, p.small, false)
	if err != nil && !apiError(err, client.ErrorCodeKeyNotFound) {
		return err
	}
	if r.Index < p.cursor {
		return fmt.Errorf("%w: %w", subnet.ErrCompacted, errFuture)
	}
	return nil
}
