package subnet

import (
	"context"
	"log/slog"
	"runtime"
	"time"
)

const (
	// reminder is the time after which a trouble that lasts is logged again.
	reminder = 5 * time.Minute
	// settled is the time for which a trouble that comes back soon must last to be
	// logged before the reminder.
	settled = 10 * time.Second
)

// trouble logs an outage when it begins, at each reminder while it lasts, and
// when it is over. One that comes and goes is logged as often as one that lasts.
type trouble struct {
	log    *slog.Logger
	back   string    // what is said when it is over
	since  time.Time // zero: there is none
	said   time.Time // when it, or the one before, was last logged
	logged bool      // this one was
}

// failed logs with its caller as the place.
func (t *trouble) failed(msg string, args ...any) {
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	lasts := now.Sub(t.since)
	if !t.said.IsZero() && now.Sub(t.said) < reminder && (t.logged || lasts < settled) {
		return
	}
	t.said, t.logged = now, true
	var caller [1]uintptr
	runtime.Callers(2, caller[:]) // not Callers, nor this method
	r := slog.NewRecord(now, slog.LevelError, msg, caller[0])
	r.Add(append(args, "for", lasts.Round(time.Second))...)
	_ = t.log.Handler().Handle(context.Background(), r)
}

func (t *trouble) over() {
	if t.logged {
		t.log.Info(t.back, "after", time.Since(t.since).Round(time.Millisecond))
	}
	t.since, t.logged = time.Time{}, false
}
