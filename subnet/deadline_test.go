package subnet

import (
	"testing"
	"time"
)

func TestDeadlineFollowsWrites(t *testing.T) {
	const h = time.Hour
	for _, tt := range []struct {
		name       string
		do         func(d *deadline)
		until      time.Duration
		early, due time.Duration // bounds
	}{
		{"a quiet write", func(d *deadline) { d.renewed(2*h, true) }, 26*h - 5*time.Minute, 2*h + 54*time.Minute, 2*h + 66*time.Minute},
		{"a write that wakes everybody", func(d *deadline) { d.renewed(2*h, false) }, 26*h - 5*time.Minute, 2*h + 54*h/5, 2*h + 66*h/5},
		{"written by somebody else to live as long", func(d *deadline) { d.renewed(0, true); d.hasten(24*h, h/2) }, 24*h - 5*time.Minute, 54 * time.Minute, 66 * time.Minute},
		{"written by somebody else to live shorter", func(d *deadline) { d.renewed(0, true); d.hasten(20*time.Minute, h/2) }, h/2 + 15*time.Minute, h/2 + 10*time.Minute, h/2 + 10*time.Minute},
		{"about to expire", func(d *deadline) { d.renewed(0, true); d.hasten(time.Second, h/2) }, h/2 + 30*time.Second, h / 2, h / 2},
	} {
		d := deadline{pace: paceOf(DefaultTTL, defaultMargin)}
		tt.do(&d)
		if d.until != tt.until || d.due < tt.early || d.due > tt.due {
			t.Errorf("%s: until %s, due %s; want until %s, due %s to %s", tt.name, d.until, d.due, tt.until, tt.early, tt.due)
		}
	}
}

func TestClocksTellThatTheHostWasAway(t *testing.T) {
	p := paceOf(DefaultTTL, defaultMargin)
	for _, tt := range []struct {
		name           string
		up, wall, mono time.Duration
		want           bool
	}{
		{"a look later", p.tick, p.tick, p.tick, false},
		{"suspended", time.Hour, time.Hour, time.Second, true},
		{"a paused virtual machine", p.tick, time.Hour, p.tick, true},
		{"a clock set back", p.tick, -time.Hour, p.tick, true},
		{"a leap second", p.tick, p.tick + time.Second, p.tick, false},
		{"a daemon that was stopped", time.Hour, time.Hour, time.Hour, true},
	} {
		then := clocks{time.Hour, time.Unix(1e9, 0), time.Now()}
		now := clocks{then.up + tt.up, then.wall.Add(tt.wall), then.mono.Add(tt.mono)}
		if got := p.wasAway(now.since(then)); got != tt.want {
			t.Errorf("%s: away: %t", tt.name, got)
		}
	}
}
