// Package backoff spaces out attempts: each pause is up to twice as long as the
// last, with jitter, so that many who failed together do not come back
// together.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	defaultMin = 100 * time.Millisecond
	defaultMax = 5 * time.Second
)

// Backoff is one row of attempts. The zero value works. Not safe for concurrent
// use.
type Backoff struct {
	Min, Max time.Duration // bounds of a pause; zero: 100 ms and 5 s
	last     time.Duration
}

// Next returns the next pause: between half and all of the doubled last one.
func (b *Backoff) Next() time.Duration {
	least, most := b.Min, b.Max
	if least == 0 {
		least = defaultMin
	}
	if most == 0 {
		most = defaultMax
	}
	b.last = min(max(2*b.last, least), most)
	return b.last/2 + rand.N(b.last/2+1)
}

// Reset starts again from the shortest pause.
func (b *Backoff) Reset() { b.last = 0 }

// Wait sleeps for the next pause. It returns the context's error if that ends
// first.
func (b *Backoff) Wait(ctx context.Context) error {
	return Sleep(ctx, b.Next())
}

// Sleep waits for d, or returns the context's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
