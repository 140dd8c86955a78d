package subnet

import (
	"math/rand/v2"
	"time"
)

// deadline says until when a lease is ours, and when to do something about it, all by
// the Clock. It means nothing for a reservation.
type deadline struct {
	pace
	sent  time.Duration // when the last good write was sent
	until time.Duration
	due   time.Duration
}

// renewed sets the deadline after a good write.
func (d *deadline) renewed(sent time.Duration, quiet bool) {
	pause := d.seldom
	if quiet {
		pause = d.every
	}
	d.sent, d.until = sent, sent+d.ttl-d.safety
	d.due = sent + min(pause-pause/10+rand.N(pause/5+1), d.latest)
}

// hasten makes the next renewal early enough after somebody else has written our key,
// which expires in left by the wall clock.
func (d *deadline) hasten(left, now time.Duration) {
	if due := now + max(min(left/2, left-d.safety), 0); left < d.ttl/2 && due < d.due {
		d.due = due
		d.shorten(left, now)
	}
}

// shorten brings the deadline forward, since somebody else has given the key less life.
// It leaves time for one try to renew it: only the wall clock tells how much life that
// is, and it can be wrong.
func (d *deadline) shorten(left, now time.Duration) {
	d.until = min(d.until, now+max(left-d.safety, d.patience))
}

// pace holds the times that depend on a lease's life. For the usual life of a day they
// are those in the comments; for a shorter one they shrink.
type pace struct {
	ttl      time.Duration
	safety   time.Duration // 5 min: between our deadline and the expiry, for the members' clocks
	every    time.Duration // 1 h: between renewals that wake nobody
	seldom   time.Duration // 12 h: between those that wake everybody
	latest   time.Duration // 23 h, or as the operator wishes: after a write
	retry    time.Duration // 5 s: the first pause after a failure
	retryMax time.Duration // 60 s: the longest
	patience time.Duration // 30 s: of a call, beside the store's own
	tick     time.Duration // 10 s: between looks at the clock
	gap      time.Duration // 30 s: by how much clocks differ after something happened to them
}

func paceOf(ttl, margin time.Duration) pace {
	share := float64(ttl) / float64(DefaultTTL) // multiplying durations would overflow
	scaled := func(d time.Duration) time.Duration { return time.Duration(share * float64(d)) }
	return pace{
		ttl:      ttl,
		safety:   max(scaled(5*time.Minute), min(ttl/8, time.Second)),
		every:    max(scaled(time.Hour), min(ttl/4, time.Second)),
		seldom:   ttl / 2,
		latest:   max(ttl-scaled(margin), scaled(time.Minute)),
		retry:    min(5*time.Second, ttl/40),
		retryMax: min(time.Minute, ttl/8),
		patience: min(max(time.Second, ttl/8), 30*time.Second),
		tick:     min(10*time.Second, max(ttl/20, 10*time.Millisecond)),
		gap:      min(30*time.Second, ttl/4),
	}
}

// wasAway reports whether something happened to the host while so much time passed
// between two looks and its clocks went apart by so much.
func (p pace) wasAway(apart, passed time.Duration) bool {
	return apart >= p.gap || passed >= p.tick+p.patience+p.gap
}
