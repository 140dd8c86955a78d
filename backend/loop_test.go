package backend_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/backend"
	"flanneld/subnet"
)

// timed is a backend whose Set takes a while and may fail.
type timed struct {
	backend.Backend
	start time.Time
	takes time.Duration
	fail  func(pass int) error // counted from 1; nil: never

	mu     sync.Mutex
	passes []time.Duration // when each began
	planes [][]backend.Plane
}

func (b *timed) Set(ctx context.Context, planes []backend.Plane) error {
	b.mu.Lock()
	b.passes = append(b.passes, time.Since(b.start))
	b.planes = append(b.planes, planes)
	pass := len(b.passes)
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.takes):
	}
	if b.fail == nil {
		return nil
	}
	return b.fail(pass)
}

// seen returns when passes began, and their planes.
func (b *timed) seen() ([]time.Duration, [][]backend.Plane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.passes), slices.Clone(b.planes)
}

// bench is a Loop at work in fake time.
type bench struct {
	*testing.T
	backend          *timed
	loop             backend.Loop
	changed, noticed chan struct{}
	log              journal
	read             int // of the log, by logged
	cancel           context.CancelFunc
	ended            chan error
}

// journal may be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// run starts a loop, after setup, and ends it after f. That it leaves no
// goroutine the bubble sees to.
func run(t *testing.T, setup func(*bench), f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{
			T: t, backend: &timed{start: time.Now(), takes: time.Millisecond}, ended: make(chan error, 1),
			changed: make(chan struct{}, 1), noticed: make(chan struct{}, 1),
		}
		b.loop = backend.Loop{
			Backend: b.backend, Planes: func() []backend.Plane { return nil }, Changed: b.changed, Noticed: b.noticed,
			Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		}
		setup(b)
		ctx, cancel := context.WithCancel(t.Context())
		b.cancel = cancel
		go func() { b.ended <- b.loop.Run(ctx) }()
		f(b)
		cancel()
		synctest.Wait()
		select {
		case err := <-b.ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		default:
			t.Error("Run has not ended with its context")
		}
	})
}

func (b *bench) began(want ...time.Duration) {
	b.Helper()
	synctest.Wait()
	got, _ := b.backend.seen()
	if d := cmp.Diff(want, got); d != "" {
		b.Errorf("passes began at (-want +got):\n%s", d)
	}
}

func plain(*bench) {}

func TestLoopPassesAtOnceAndEveryResync(t *testing.T) {
	run(t, plain, func(b *bench) {
		b.began(0)
		time.Sleep(3*time.Minute + time.Second)
		// A pass of 1 ms, 10 ms in which no reason counts, and a minute.
		const period = 11*time.Millisecond + time.Minute
		b.began(0, period, 2*period, 3*period)
	})
	run(t, func(b *bench) { b.loop.Resync = time.Second }, func(b *bench) {
		time.Sleep(2500 * time.Millisecond)
		b.began(0, 1011*time.Millisecond, 2022*time.Millisecond)
	})
}

func TestLoopPassesOnAReason(t *testing.T) {
	run(t, plain, func(b *bench) {
		time.Sleep(time.Second)
		b.changed <- struct{}{}
		b.began(0, time.Second)
		time.Sleep(time.Second)
		b.noticed <- struct{}{}
		b.began(0, time.Second, 2*time.Second)
		time.Sleep(time.Second)
		b.began(0, time.Second, 2*time.Second)
	})
}

func TestLoopTakesThePlanesAnewInEachPass(t *testing.T) {
	setup := func(b *bench) {
		n := 0
		b.loop.Planes = func() []backend.Plane {
			n++
			return []backend.Plane{{Peers: make([]subnet.Claim, n)}}
		}
	}
	run(t, setup, func(b *bench) {
		time.Sleep(time.Second)
		b.changed <- struct{}{}
		synctest.Wait()
		if _, got := b.backend.seen(); len(got) != 2 || len(got[0][0].Peers) != 1 || len(got[1][0].Peers) != 2 {
			t.Errorf("planes are %v, want one peer, then two", got)
		}
	})
}

// TestLoopCoalesces: what happens while a pass is under way, and in the pause
// after it, makes one pass more.
func TestLoopCoalesces(t *testing.T) {
	run(t, func(b *bench) { b.backend.takes = 20 * time.Millisecond }, func(b *bench) {
		for range 30 { // 150 ms of changes, within the 220 ms of pass and pause
			time.Sleep(5 * time.Millisecond)
			for _, c := range []chan struct{}{b.changed, b.noticed} {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
		time.Sleep(10 * time.Second)
		b.began(0, 220*time.Millisecond)
	})
}

// TestLoopIsIdleMostOfTheTime under a storm of reasons: a tenth of the time is
// spent in passes, but no change waits longer than a second.
func TestLoopIsIdleMostOfTheTime(t *testing.T) {
	for _, test := range []struct{ takes, period time.Duration }{
		{time.Millisecond, 11 * time.Millisecond},
		{50 * time.Millisecond, 550 * time.Millisecond},
		{300 * time.Millisecond, 1300 * time.Millisecond},
		{5 * time.Second, 6 * time.Second},
	} {
		t.Run(test.takes.String(), func(t *testing.T) {
			storm := make(chan struct{})
			run(t, func(b *bench) { b.backend.takes, b.loop.Noticed = test.takes, storm }, func(b *bench) {
				close(storm) // always a reason
				time.Sleep(3*test.period + test.period/2)
				b.began(0, test.period, 2*test.period, 3*test.period)
			})
		})
	}
}

func TestLoopRetriesLessAndLess(t *testing.T) {
	failing := func(int) error { return errors.New("no buffers") }
	run(t, func(b *bench) { b.backend.takes, b.backend.fail = 0, failing }, func(b *bench) {
		time.Sleep(time.Minute)
		synctest.Wait()
		var gaps []time.Duration
		passes, _ := b.backend.seen()
		for i := 1; i < len(passes); i++ {
			gaps = append(gaps, passes[i]-passes[i-1])
		}
		const ms = time.Millisecond
		want := []time.Duration{250 * ms, 500 * ms, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second}
		if d := cmp.Diff(want, gaps); d != "" {
			t.Errorf("gaps between passes (-want +got):\n%s", d)
		}
	})
}

func TestLoopRetriesAreNotRarerThanResync(t *testing.T) {
	failing := func(int) error { return errors.New("no buffers") }
	run(t, func(b *bench) { b.backend.takes, b.backend.fail, b.loop.Resync = 0, failing, 400*time.Millisecond }, func(b *bench) {
		time.Sleep(1200 * time.Millisecond)
		b.began(0, 250*time.Millisecond, 650*time.Millisecond, 1050*time.Millisecond)
	})
}

func TestLoopStartsRetriesAgainAfterASuccess(t *testing.T) {
	flaky := func(pass int) error {
		if pass == 4 {
			return nil
		}
		return errors.New("no buffers")
	}
	run(t, func(b *bench) { b.backend.takes, b.backend.fail = 0, flaky }, func(b *bench) {
		time.Sleep(3 * time.Second) // passes at 0, 250 ms, 750 ms and, with success, 1.75 s
		b.changed <- struct{}{}
		time.Sleep(300 * time.Millisecond)
		b.began(0, 250*time.Millisecond, 750*time.Millisecond, 1750*time.Millisecond, 3*time.Second, 3250*time.Millisecond)
	})
}

func TestLoopAnswersBetweenPassesAndNotWithinOne(t *testing.T) {
	var asked chan func()
	run(t, func(b *bench) {
		asked = make(chan func())
		b.loop.Asked, b.backend.takes = asked, time.Minute
	}, func(b *bench) {
		answer := make(chan time.Duration, 1)
		start := time.Now()
		go func() { asked <- func() { answer <- time.Since(start) } }()
		if at := <-answer; at < time.Minute {
			b.Errorf("answered %s after the start, during a pass", at)
		}
		b.began(0) // an answer is no reason for a pass
	})
}
