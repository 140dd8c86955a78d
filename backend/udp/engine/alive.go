package engine

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// askEvery is the time between two looks whether a queue has answered.
const askEvery = 5 * time.Millisecond

// Alive returns nil once each queue's thread has begun another round. When ctx is done
// before that, the error names a queue that has not. While Run does not run, there is
// no such thread.
func (e *Engine) Alive(ctx context.Context) error {
	before := make([]uint64, len(e.queues))
	for i, q := range e.queues {
		before[i] = q.rounds.Load()
	}
	e.wake()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for i, q := range e.queues {
		for q.rounds.Load() == before[i] {
			select {
			case <-ctx.Done():
				return fmt.Errorf("queue %d of %s does not move packets", i, e.device.Name())
			case <-ticker.C:
			}
		}
	}
	return nil
}

// wake ends the queues' waits.
func (e *Engine) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	for _, q := range e.queues {
		// The counter never overflows, so that this cannot fail.
		_, _ = unix.Write(q.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}
