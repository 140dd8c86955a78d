package systemd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// living answers unless it is stuck.
type living struct{ stuck atomic.Bool }

func (l *living) Alive(ctx context.Context) error {
	if !l.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return errors.New("a part is stuck")
}

func TestWatchdogIsFedOnlyWhileAllAnswer(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "60000000")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		var fed atomic.Int32
		one, other := new(living), new(living)
		ended := make(chan error, 1)
		go func() {
			ended <- FeedWatchdog(ctx, []func(context.Context) error{one.Alive, other.Alive}, func() { fed.Add(1) },
				slog.New(slog.NewTextHandler(&log, nil)))
		}()
		time.Sleep(time.Minute + time.Second)
		if n := fed.Load(); n != 5 {
			t.Errorf("fed %d times in a minute, want 5", n)
		}
		other.stuck.Store(true)
		time.Sleep(15 * time.Second) // one that was asked before
		before := fed.Load()
		time.Sleep(10 * time.Minute)
		if n := fed.Load(); n != before {
			t.Errorf("fed %d times while a part was stuck", n-before)
		}
		other.stuck.Store(false)
		time.Sleep(31 * time.Second)
		if fed.Load() == before {
			t.Error("not fed after the part went on")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "a part is stuck"); n != 1 || !strings.Contains(log.String(), "answer again") {
			t.Errorf("log is\n%s", &log)
		}
	})
}

func TestWatchdogThatIsOff(t *testing.T) {
	if err := FeedWatchdog(t.Context(), nil, func() { t.Error("fed") }, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewProbe("sleeps")
		bound := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		if err := l.Alive(bound()); err == nil || !strings.Contains(err.Error(), "that sleeps does not answer") {
			t.Errorf("nobody answers: %v", err)
		}
		l.Busy.Store(true)
		if err := l.Alive(bound()); err != nil {
			t.Errorf("away: %v", err)
		}
		l.Busy.Store(false)
		time.AfterFunc(time.Second/2, l.Step)
		if err := l.Alive(bound()); err != nil {
			t.Errorf("getting on: %v", err)
		}
		if err := l.Alive(bound()); err == nil {
			t.Error("it got on before it was asked, and then no more")
		}
		go func() { (<-l.Ask)() }()
		if err := l.Alive(bound()); err != nil {
			t.Errorf("answered: %v", err)
		}
	})
}
