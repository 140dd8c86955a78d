package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestNextStaysWithinBounds(t *testing.T) {
	for name, test := range map[string]struct {
		b    Backoff
		most []time.Duration // of each pause; it is at least half of that
	}{
		"zero value": {Backoff{}, []time.Duration{
			100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
			1600 * time.Millisecond, 3200 * time.Millisecond, 5 * time.Second, 5 * time.Second,
		}},
		"own bounds":      {Backoff{Min: time.Second, Max: 3 * time.Second}, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		"own least":       {Backoff{Min: 4 * time.Second}, []time.Duration{4 * time.Second, 5 * time.Second}},
		"own most":        {Backoff{Max: 150 * time.Millisecond}, []time.Duration{100 * time.Millisecond, 150 * time.Millisecond}},
		"least over most": {Backoff{Min: time.Minute, Max: time.Second}, []time.Duration{time.Second, time.Second}},
		"one nanosecond":  {Backoff{Min: 1, Max: 1}, []time.Duration{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 1000 {
				b := test.b
				for i, most := range test.most {
					if d := b.Next(); d < most/2 || d > most {
						t.Fatalf("pause %d is %s, want %s to %s", i, d, most/2, most)
					}
				}
			}
		})
	}
}

// TestNextIsSpreadOut: many who start together must not come back together.
func TestNextIsSpreadOut(t *testing.T) {
	const rows = 1000
	var low, high int
	seen := make(map[time.Duration]bool)
	for range rows {
		b := Backoff{Min: time.Second, Max: time.Minute}
		d := b.Next()
		seen[d] = true
		switch {
		case d < 625*time.Millisecond:
			low++
		case d >= 875*time.Millisecond:
			high++
		}
	}
	// A quarter each is expected; a hundred is 11 standard deviations away.
	if len(seen) < rows/2 || low < 100 || high < 100 {
		t.Errorf("%d rows have %d different pauses, %d in the lowest quarter, %d in the highest", rows, len(seen), low, high)
	}
}

func TestResetStartsAgain(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Hour}
	for range 5 {
		b.Next()
	}
	b.Reset()
	if d := b.Next(); d > time.Second {
		t.Errorf("pause after Reset is %s, want at most %s", d, time.Second)
	}
}

func TestWaitSleepsForThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: time.Minute}
		for _, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < most/2 || d > most {
				t.Errorf("waited for %s, want %s to %s", d, most/2, most)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := Backoff{Min: time.Hour, Max: time.Hour}
		start := time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v, want context.DeadlineExceeded", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited for %s, want 1s", d)
		}
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sleep: %v, want context.DeadlineExceeded", err)
		}
	})
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, d := range []time.Duration{-time.Second, 0, time.Minute} {
			start := time.Now()
			if err := Sleep(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != max(d, 0) {
				t.Errorf("Sleep(%s) took %s", d, got)
			}
		}
	})
}
