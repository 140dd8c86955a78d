package etcd3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"flanneld/pkg/backoff"
	"flanneld/subnet"
)

// watch is one watch of some keys: it keeps its place in the store's history, and has a
// stream from one member at a time. Not safe for concurrent use.
type watch struct {
	*api
	key, end string // the first key, and the one after the last; end empty: there is but one
	cursor   int64  // the last revision that is dealt with
	cluster  uint64 // where that is; zero: not known
	stream   *stream
	short    int // how many streams in a row have ended soon
}

// stream is what comes from one member.
type stream struct {
	member *member
	client pb.Watch_WatchClient
	end    context.CancelFunc
	began  time.Time
	came   chan answer // closed when nothing comes any more
	asked  bool        // whether it is there
	empty  int         // how many answers without an event have come since
}

type answer struct {
	*pb.WatchResponse
	err error
}

func (w *watch) close() {
	if s := w.stream; s != nil {
		s.end()
		for range s.came { // until its goroutine has ended
		}
		w.members.done(s.member)
		w.stream = nil
	}
}

// next waits for the next events, one at least. It returns subnet.ErrCompacted if the
// place in the history is lost. A stream that breaks is begun anew, by another member if
// there is one: that shows why. If streams end soon again and again, it is an error.
func (w *watch) next(ctx context.Context) ([]*mvccpb.Event, error) {
	for {
		if w.stream == nil {
			if err := w.open(ctx); err != nil {
				return nil, err
			}
		}
		s := w.stream
		events, err := w.receive(ctx)
		if err == nil {
			w.cursor = events[len(events)-1].Kv.ModRevision
			return events, nil
		}
		w.close()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err = s.member.named(ctx, rpctypes.Error(err))
		if another(err) {
			w.members.leave(s.member)
		}
		if w.short++; time.Since(s.began) >= w.times.soon {
			w.short = 0
		}
		if errors.Is(err, subnet.ErrCompacted) || refused(err) || w.short > len(w.members.endpoints) {
			return nil, w.explain(ctx, err)
		}
	}
}

// open begins a stream from whichever member answers. One that knows of no leader may know
// one soon.
func (w *watch) open(ctx context.Context) error {
	bound, cancel := w.bound(ctx)
	defer cancel()
	var answered error
	for {
		err := w.openOne(bound)
		switch {
		case errors.Is(err, errAnswer):
			answered = err
		case err != nil && bound.Err() != nil && ctx.Err() == nil && answered != nil: // the time is over
			return answered
		default:
			return err
		}
		if backoff.Sleep(bound, w.times.pause) != nil && ctx.Err() == nil {
			return answered
		}
	}
}

// openOne asks each member once.
func (w *watch) openOne(bound context.Context) error {
	return w.ask(bound, func(part context.Context, m *member) error {
		// The stream outlives this call, unless it fails.
		long, end := context.WithCancel(clientv3.WithRequireLeader(context.WithoutCancel(part)))
		stop := context.AfterFunc(part, end)
		s := &stream{member: m, end: end, began: time.Now(), came: make(chan answer)}
		err := w.begin(part, long, s)
		if !stop() && err == nil {
			err = part.Err()
		}
		if err != nil {
			end()
			return err
		}
		w.members.hold(m)
		w.stream = s
		go s.run(long)
		return nil
	})
}

// begin asks for the stream, and looks whether the store has the place in its history.
func (w *watch) begin(part, long context.Context, s *stream) (err error) {
	if s.client, err = s.member.watch.Watch(long); err != nil {
		return err
	}
	// gRPC's error is a bare EOF here, and Recv has the reason.
	_ = s.client.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(w.key), RangeEnd: []byte(w.end), StartRevision: w.cursor + 1, ProgressNotify: true,
	}}})
	r, err := s.client.Recv()
	if err != nil {
		return err
	}
	if _, err := judge(r, w.cursor, w.cluster); err != nil {
		return err
	}
	if !r.Created {
		return errNotEtcd
	}
	return w.reached(part, s.member, r.Header.Revision)
}

// reached looks whether the store is as far as the cursor, which a member may not be yet.
func (w *watch) reached(ctx context.Context, m *member, at int64) error {
	if at >= w.cursor {
		return nil
	}
	r, err := m.kv.Get(ctx, w.key, clientv3.WithCountOnly())
	if err == nil {
		err = sound(r.Header)
	}
	if err == nil && r.Header.Revision < w.cursor {
		err = fmt.Errorf("%w: %w", subnet.ErrCompacted, errFuture)
	}
	return err
}

// run passes on what comes.
func (s *stream) run(ctx context.Context) {
	defer close(s.came)
	for {
		r, err := s.client.Recv()
		select {
		case s.came <- answer{r, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// mostEmpty is the number of answers without an event after which no more is listened to:
// etcd sends one when it is asked, and one in ten minutes.
const mostEmpty = 100

// receive waits for events. A member that keeps silent is asked whether it is there: what
// it does not answer then, it would never tell.
func (w *watch) receive(ctx context.Context) ([]*mvccpb.Event, error) {
	s := w.stream
	for {
		wait := w.times.quiet + rand.N(w.times.quiet/2)
		if s.asked {
			wait = w.times.answer
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case a := <-s.came:
			timer.Stop()
			if a.err != nil {
				return nil, a.err
			}
			s.asked = false
			events, err := judge(a.WatchResponse, w.cursor, w.cluster)
			if s.empty++; len(events) > 0 {
				s.empty = 0
			}
			if err == nil && s.empty > mostEmpty {
				err = errFlood
			}
			if err == nil && len(events) == 0 {
				err = w.reached(ctx, s.member, a.Header.Revision)
			}
			if err != nil || len(events) > 0 {
				return events, err
			}
		case <-timer.C:
			if s.asked {
				return nil, errSilent
			}
			s.asked, s.empty = true, 0
			_ = s.client.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}) // see begin
		}
	}
}
