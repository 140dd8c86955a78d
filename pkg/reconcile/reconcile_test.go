package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"flanneld/pkg/logtest"
	"flanneld/pkg/reconcile"
	"flanneld/pkg/wake"
)

// bench is a Loop at work in fake time.
type bench struct {
	*testing.T
	loop   reconcile.Loop
	wake   wake.Chan
	takes  time.Duration                   // each pass
	result func(pass int) reconcile.Result // counted from 1; nil: a success
	start  time.Time
	log    logtest.Buffer
	read   int // of the log, by logged
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	passes []time.Duration // when each began
}

func (b *bench) pass(ctx context.Context) reconcile.Result {
	b.mu.Lock()
	b.passes = append(b.passes, time.Since(b.start))
	pass := len(b.passes)
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		return reconcile.Result{Err: ctx.Err()}
	case <-time.After(b.takes):
	}
	if b.result == nil {
		return reconcile.Result{}
	}
	return b.result(pass)
}

// seen returns when passes began.
func (b *bench) seen() []time.Duration {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.passes)
}

// run starts a loop, after setup, and ends it after f. That it leaves no
// goroutine the bubble sees to.
func run(t *testing.T, setup func(*bench), f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, start: time.Now(), takes: time.Millisecond, ended: make(chan error, 1), wake: wake.New()}
		b.loop = reconcile.Loop{
			Pass: b.pass, Wake: b.wake, Subject: "Room", Repaired: "Others had moved things",
			Log: b.log.Logger(),
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
	if d := cmp.Diff(want, b.seen()); d != "" {
		b.Errorf("passes began at (-want +got):\n%s", d)
	}
}

// wantLogged compares the lines that were logged since the last call, without their
// time.
func (b *bench) wantLogged(want ...string) {
	b.Helper()
	synctest.Wait()
	var lines []string
	text := b.log.String()
	for line := range strings.Lines(text[b.read:]) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), " level=")
		lines = append(lines, said)
	}
	b.read = len(text)
	if d := cmp.Diff(want, lines); d != "" {
		b.Errorf("log (-want +got):\n%s", d)
	}
}

func plain(*bench) {}

func failing(int) reconcile.Result { return reconcile.Result{Err: errors.New("no buffers")} }

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
		b.wake.Wake()
		b.began(0, time.Second)
		time.Sleep(time.Second)
		b.began(0, time.Second)
	})
}

// TestLoopCoalesces: what happens while a pass is under way, and in the pause
// after it, makes one pass more.
func TestLoopCoalesces(t *testing.T) {
	run(t, func(b *bench) { b.takes = 20 * time.Millisecond }, func(b *bench) {
		for range 30 { // 150 ms of changes, within the 220 ms of pass and pause
			time.Sleep(5 * time.Millisecond)
			b.wake.Wake()
		}
		time.Sleep(10 * time.Second)
		b.began(0, 220*time.Millisecond)
	})
}

// TestLoopIsIdleMostOfTheTime under a storm of reasons: a tenth of the time is
// spent in passes, but no change waits longer than a second.
func TestLoopIsIdleMostOfTheTime(t *testing.T) {
	for _, test := range []struct{ takes, gap, period time.Duration }{
		{time.Millisecond, 0, 11 * time.Millisecond},
		{time.Millisecond, 250 * time.Millisecond, 251 * time.Millisecond},
		{50 * time.Millisecond, 250 * time.Millisecond, 550 * time.Millisecond},
		{300 * time.Millisecond, 0, 1300 * time.Millisecond},
		{5 * time.Second, 0, 6 * time.Second},
	} {
		t.Run(fmt.Sprint(test.takes, " gap ", test.gap), func(t *testing.T) {
			storm := make(chan struct{})
			run(t, func(b *bench) { b.takes, b.loop.Gap, b.loop.Wake = test.takes, test.gap, storm }, func(b *bench) {
				close(storm) // always a reason
				time.Sleep(3*test.period + test.period/2)
				b.began(0, test.period, 2*test.period, 3*test.period)
			})
		})
	}
}

// gapsAre compares the gaps between passes with the most that each may be; it is at
// least half of that.
func (b *bench) gapsAre(most ...time.Duration) {
	b.Helper()
	passes := b.seen()
	if len(passes) <= len(most) {
		b.Fatalf("%d passes, want over %d", len(passes), len(most))
	}
	for i, most := range most {
		if gap := passes[i+1] - passes[i]; gap < most/2 || gap > most {
			b.Errorf("gap %d between passes is %s, want %s to %s", i, gap, most/2, most)
		}
	}
}

func TestLoopRetriesLessAndLess(t *testing.T) {
	const ms = time.Millisecond
	run(t, func(b *bench) { b.takes, b.result = 0, failing }, func(b *bench) {
		time.Sleep(time.Minute)
		b.gapsAre(250*ms, 500*ms, time.Second, 2*time.Second, 4*time.Second, 8*time.Second, 15*time.Second, 15*time.Second)
	})
	run(t, func(b *bench) {
		b.takes, b.result = 0, failing
		b.loop.Retry.Min, b.loop.Retry.Max = 500*ms, time.Second
	}, func(b *bench) {
		time.Sleep(10 * time.Second)
		b.gapsAre(500*ms, time.Second, time.Second, time.Second)
	})
}

func TestLoopRetriesAreNotRarerThanResync(t *testing.T) {
	run(t, func(b *bench) { b.takes, b.result, b.loop.Resync = 0, failing, 40*time.Millisecond }, func(b *bench) {
		time.Sleep(130 * time.Millisecond)
		b.began(0, 40*time.Millisecond, 80*time.Millisecond, 120*time.Millisecond)
	})
}

func TestLoopStartsRetriesAgainAfterASuccess(t *testing.T) {
	flaky := func(pass int) reconcile.Result {
		if pass == 4 {
			return reconcile.Result{}
		}
		return failing(pass)
	}
	run(t, func(b *bench) { b.takes, b.result = 0, flaky }, func(b *bench) {
		time.Sleep(3 * time.Second) // four passes, the last one with success
		before := len(b.seen())
		b.wake.Wake()
		time.Sleep(300 * time.Millisecond)
		passes := b.seen()
		if before != 4 || len(passes) < 6 {
			t.Fatalf("passes began at %v, want 4 in three seconds and then 2", passes)
		}
		if gap := passes[5] - passes[4]; gap > 250*time.Millisecond {
			t.Errorf("the retry after a success comes after %s, want 250ms at most", gap)
		}
	})
}

func TestLoopAnswersBetweenPasses(t *testing.T) {
	var asked chan func()
	run(t, func(b *bench) {
		asked = make(chan func())
		b.loop.Alive, b.takes = asked, time.Minute
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

func TestLoopLogsChangesOfTheOutcomeOnly(t *testing.T) {
	outcomes := []string{"", "", "first", "first", "second", "", "", "first"}
	result := func(pass int) reconcile.Result {
		r := reconcile.Result{Attrs: []any{"things", pass}}
		if o := outcomes[min(pass, len(outcomes))-1]; o != "" {
			r.Err = errors.New(o)
		}
		return r
	}
	run(t, func(b *bench) { b.result, b.loop.Resync = result, time.Second }, func(b *bench) {
		time.Sleep(time.Minute)
		b.wantLogged(
			`ERROR msg="Room is not as it should be; trying again" err=first`,
			`ERROR msg="Room is not as it should be; trying again" err=second`,
			`INFO msg="Room is in step again" things=6`,
			`ERROR msg="Room is not as it should be; trying again" err=first`,
		)
		if passes := b.seen(); len(passes) < len(outcomes) {
			t.Errorf("only %d passes", len(passes))
		}
	})
}

func TestLoopLogsRepairsNowAndThen(t *testing.T) {
	results := []reconcile.Result{{}, {Repairs: 2, First: "chair"}, {Repairs: 3, First: "table"}, {}, {Repairs: 1, First: "lamp"}}
	result := func(pass int) reconcile.Result { return results[min(pass, len(results))-1] }
	run(t, func(b *bench) { b.result = result }, func(b *bench) {
		step := func(want ...string) {
			b.Helper()
			time.Sleep(10 * time.Second)
			b.wake.Wake()
			b.wantLogged(want...)
		}
		step() // the second pass begins
		step(`INFO msg="Others had moved things" changes=2 first=chair`)
		step()
		step()
		step()
		time.Sleep(time.Minute + time.Second)
		b.wantLogged(`INFO msg="Others had moved things" changes=6 first=table`)
	})
}

// TestIdlePasses: what is not wanted yet neither fails nor succeeds.
func TestIdlePasses(t *testing.T) {
	done := 0
	result := func(pass int) reconcile.Result {
		switch pass {
		case 1:
			return reconcile.Result{Err: errors.New("no buffers")}
		case 2, 3:
			return reconcile.Result{Idle: true}
		}
		return reconcile.Result{}
	}
	run(t, func(b *bench) {
		b.result, b.loop.Gap = result, time.Second
		b.loop.Done = func(reconcile.Result) error { done++; return nil }
	}, func(b *bench) {
		time.Sleep(1500 * time.Millisecond)
		b.wake.Wake()
		time.Sleep(10 * time.Millisecond)
		if n := len(b.seen()); n != 3 || done != 1 {
			t.Errorf("%d passes, of which Done heard of %d; want 3 and 1", n, done)
		}
		b.wantLogged(`ERROR msg="Room is not as it should be; trying again" err="no buffers"`)
		time.Sleep(time.Minute)
		b.wantLogged(`INFO msg="Room is in step again"`)
	})
}

func TestLoopEndsWithDonesError(t *testing.T) {
	full := errors.New("disk is full")
	run(t, func(b *bench) {
		passes := 0
		b.loop.Done = func(reconcile.Result) error {
			if passes++; passes == 2 {
				return full
			}
			return nil
		}
	}, func(b *bench) {
		b.wake.Wake()
		if err := <-b.ended; !errors.Is(err, full) {
			t.Errorf("Run: %v, want %v", err, full)
		}
		b.ended <- nil // run looks at it too
		time.Sleep(time.Hour)
		b.began(0, 11*time.Millisecond)
	})
}

// TestLoopEndsWithItsContext at every stage: in a pass, in the pause after it and
// in the wait for a reason. Done hears of no pass that was cut short.
func TestLoopEndsWithItsContext(t *testing.T) {
	for stage, after := range map[string]time.Duration{
		"in a pass": 5 * time.Millisecond, "in the pause": 50 * time.Millisecond, "in the wait": time.Second,
	} {
		t.Run(stage, func(t *testing.T) {
			done := 0
			run(t, func(b *bench) {
				b.takes = 10 * time.Millisecond
				b.loop.Done = func(reconcile.Result) error { done++; return nil }
			}, func(b *bench) {
				time.Sleep(after)
				b.cancel()
				start := time.Now()
				if err := <-b.ended; err != nil || time.Since(start) != 0 {
					t.Errorf("Run: %v after %s, want nil at once", err, time.Since(start))
				}
				b.ended <- nil
				if want := map[bool]int{true: 0, false: 1}[stage == "in a pass"]; done != want {
					t.Errorf("Done heard of %d passes, want %d", done, want)
				}
				if b.log.String() != "" {
					t.Errorf("log is %s, want nothing", &b.log)
				}
			})
		})
	}
}
