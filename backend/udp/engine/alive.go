package engine

import (
	"context"
	"fmt"
	"time"

	"flanneld/pkg/backoff"
)

// askEvery is the time between two looks whether a queue has answered.
const askEvery = 5 * time.Millisecond

// Alive returns nil once each queue's thread has begun another round. When ctx is done
// before that, the error names a queue that has not. While Run does not run, there is
// no such thread. A device that is about to be attached is not waited for: its absence
// has been logged.
func (e *Engine) Alive(ctx context.Context) error {
	e.mu.Lock()
	idle := e.device == nil && !e.stopping.Load()
	e.mu.Unlock()
	if idle {
		return nil
	}
	before := make([]uint64, len(e.queues))
	for i, q := range e.queues {
		before[i] = q.rounds.Load()
	}
	e.wake()
	for i, q := range e.queues {
		for q.rounds.Load() == before[i] {
			if backoff.Sleep(ctx, askEvery) != nil {
				return fmt.Errorf("queue %d of the udp engine does not move packets", i)
			}
		}
	}
	return nil
}

// wake ends the queues' waits. It may be called at any time, also after Close.
func (e *Engine) wake() {
	for _, q := range e.queues {
		// The counter never overflows, so that this can only fail when it is closed.
		_, _ = q.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}
