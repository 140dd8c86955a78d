package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"flanneld/pkg/backoff"
	"flanneld/pkg/logonce"
	"flanneld/subnet"
)

// side is how a keyspace is followed and written.
type side struct {
	Side
	stop  atomic.Pointer[context.CancelFunc] // ends the watch
	away  logonce.Line                       // what was said of the store; for the writer, beside until and retry
	until time.Time                          // until when nothing is written, after a failure
	retry backoff.Backoff
}

// listAgain has the side listed soon.
func (s *side) listAgain() {
	if stop := s.stop.Load(); stop != nil {
		(*stop)()
	}
}

const (
	relist  = 30 * time.Minute // the age at which a listing is made again, whatever the watch says
	healthy = 10 * time.Second // a watch that lasts for so long was no failure
)

// follow tells the state what a side has, until ctx is done.
func (m *Mirror) follow(ctx context.Context, s int) {
	pause := backoff.Backoff{Min: 50 * time.Millisecond}
	var away logonce.Line
	for ctx.Err() == nil {
		began := time.Now()
		bound, cancel := context.WithTimeout(ctx, relist)
		m.sides[s].stop.Store(&cancel)
		err := m.read(bound, s, &away)
		over := bound.Err() != nil // it was to be listed again
		cancel()
		if time.Since(began) >= healthy {
			pause.Reset()
		}
		if ctx.Err() == nil && !over && !errors.Is(err, subnet.ErrCompacted) && away.Changed("away") {
			m.opts.Log.Error(fmt.Sprintf("Cannot read %s; going on with its leases as they were: %v", m.sides[s].Name, err))
		}
		_ = pause.Wait(ctx) // its error is that of ctx, which is looked at
	}
}

// read lists a side and watches it until that fails or ctx is done.
func (m *Mirror) read(ctx context.Context, s int, away *logonce.Line) error {
	store := m.sides[s].Store
	leases, rev, err := store.Leases(ctx)
	if err != nil {
		return err
	}
	if away.Changed("") {
		m.opts.Log.Info(m.sides[s].Name + " answers again")
	}
	m.change(func(now time.Time) { m.state.reset(s, leases, rev, now) })
	for e, err := range store.Watch(ctx, rev) {
		if err != nil {
			return err
		}
		m.change(func(now time.Time) { m.state.apply(s, e, now) })
	}
	return errors.New("the watch ended")
}

// change changes the state, and has it looked at.
func (m *Mirror) change(f func(now time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(time.Now())
	m.wake.Wake()
}
